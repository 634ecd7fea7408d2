"""Balanced labelled data for the server, taken out of the training set before the long tail is cut from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator

if TYPE_CHECKING:
    from fedlt.data.targets import Targets


def set_apart(targets: Targets, per_class: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows for the server and all others.

    Args:
        targets: of the training set; as many rows are taken of those that follow each class.
        per_class: rows of each class; 0: none, so that all stay with the clients.
        seed: of the draw.

    Returns:
        int64 [C * per_class] class by class, and the others, ascending.

    Raises:
        ScenarioError: where it would leave no row of some class to the clients.
    """
    if not per_class:
        return np.empty(0, np.int64), np.arange(len(targets))
    by_class = targets.by_class()
    smallest = int(by_class.sizes.min())
    if per_class >= smallest:
        message = f"expected less than {smallest}, the size of the smallest class, so that clients get samples of it"
        raise ScenarioError(Problem("data.auxiliary", message))
    taken = [
        np.sort(generator(seed, "auxiliary", label).choice(rows, per_class, replace=False))
        for label, rows in enumerate(by_class)
    ]
    rows = np.concatenate(taken)
    return rows, np.setdiff1d(np.arange(len(targets)), rows)
