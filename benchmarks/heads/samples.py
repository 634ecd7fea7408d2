"""Samples that several of the checks share, and how their figures are told."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rotate
from sklearn.datasets import load_digits

from fedlt.heads.singular_kernel import unit

Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]


def rotated(seed: int) -> tuple[Arrays, Arrays]:
    """Digits, three times each, turned by 0, 15, ..., 165 degrees; the class is the turn. Half are for training."""
    images, labels = digits()
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.permutation(len(labels)), 3)
    turns = rng.integers(12, size=len(rows))
    x = np.stack([
        rotate(images[row].reshape(8, 8), 15 * turn, reshape=False, order=1).ravel()
        for row, turn in zip(rows, turns, strict=True)
    ])  # fmt: skip
    half = len(rows) // 6 * 3  # no digit is on both sides
    return (x[:half], turns[:half]), (x[half:], turns[half:])


def on_sphere(n: int, dim: int, seed: int) -> Arrays:
    """Points of no negative coordinate on the sphere, whose labels follow the first coordinate with noise."""
    rng = np.random.default_rng(seed)
    x = unit(rng.dirichlet(np.ones(dim), size=n))
    return x, (rng.random(n) < 0.5 + 0.4 * np.sin(6 * x[:, 0])).astype(np.int64)


@cache
def digits() -> Arrays:
    """scikit-learn's digits with pixels in [0, 1]."""
    images, labels = load_digits(return_X_y=True)
    return images / 16, labels


def long_tailed(seed: int) -> tuple[Arrays, Arrays]:
    """Digits with 120 samples of class 0 down to 4 of class 9, and all others."""
    images, labels = digits()
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = np.concatenate([
        order[labels[order] == label][: round(120 * 30 ** (-label / 9))] for label in range(10)
    ])  # fmt: skip
    rest = np.setdiff1d(order, kept)
    return (images[kept], labels[kept]), (images[rest], labels[rest])


def spread(values: list[float]) -> str:
    """Mean and standard deviation in per cent."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f} %"
