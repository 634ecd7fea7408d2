"""Balanced labelled data for the server, taken out of the training set before the long tail is cut from the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator


def set_apart(y_train: NDArray[np.int64], per_class: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows for the server, int64 [C * per_class] class by class, and all others, ascending. Raises `ScenarioError`."""
    if not per_class:
        return np.empty(0, np.int64), np.arange(len(y_train))
    smallest = int(np.bincount(y_train).min())
    if per_class >= smallest:
        message = f"expected less than {smallest}, the size of the smallest class, so that clients get samples of it"
        raise ScenarioError(Problem("data.auxiliary", message))
    taken = [
        np.sort(generator(seed, "auxiliary", label).choice(np.flatnonzero(y_train == label), per_class, replace=False))
        for label in range(int(y_train.max()) + 1)
    ]
    rows = np.concatenate(taken)
    return rows, np.setdiff1d(np.arange(len(y_train)), rows)
