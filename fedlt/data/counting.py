"""How often things occur, counted in whole numbers: the one place where labels are counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def occurrences(numbers: NDArray[np.integer], length: int) -> NDArray[np.int64]:
    """How often each of 0..length-1 occurs, int64 [length].

    Args:
        numbers: of any shape; none may be `length` or more.
    """
    return np.bincount(numbers.ravel(), minlength=length).astype(np.int64, copy=False)


def pairs(first: NDArray[np.integer], second: NDArray[np.integer], shape: tuple[int, int]) -> NDArray[np.int64]:
    """How often each pair of numbers occurs, int64 of that shape.

    Args:
        first, second: [M] the numbers of M pairs.
    """
    return occurrences(first * shape[1] + second, shape[0] * shape[1]).reshape(shape)
