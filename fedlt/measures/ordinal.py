"""The statistic of classes whose order counts: how many steps predictions are from the truth."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedlt.statistic import Arrays, Known, Predicted, Statistic


class OrdinalError(Statistic):
    """Sums of |predicted class - true class|, by client and true class.

    cells: int64 [n, 4] rows of client, true class, samples and steps, ascending.

    Baccianella, Esuli, Sebastiani: Evaluation measures for ordinal regression. ISDA 2009: under a long tail the mean
    over classes of each class's mean error, since the mean over samples is decided by the head.
    """

    title = "the ordinal error"

    def start(self) -> None:
        self.cells = np.zeros((0, 4), np.int64)

    def add(self, batch: Predicted) -> None:
        true = batch.targets.numpy(force=True)
        steps = np.abs(batch.logits.argmax(1).numpy(force=True) - true)
        rows = np.stack([np.full_like(true, batch.client), true, np.ones_like(true), steps], axis=1)
        self.cells = _collect(np.concatenate([self.cells, rows]))

    def merge(self, other: Self) -> None:
        self.cells = _collect(np.concatenate([self.cells, other.cells]))

    def to_arrays(self) -> Arrays:
        return {"cells": self.cells}

    def forget(self, clients: Collection[int]) -> None:
        self.cells = self.cells[~np.isin(self.cells[:, 0], list(clients))]

    def figures(self, known: Known) -> dict[str, float]:
        """`mae`, the mean number of steps over the samples, and `macro_mae`, the mean over the classes; of personal
        models the means over clients."""
        found = []
        for client in np.unique(self.cells[:, 0]):
            _, _, samples, steps = self.cells[self.cells[:, 0] == client].T
            found.append((steps.sum() / samples.sum(), (steps / samples).mean()))
        mae, macro = np.mean(found, axis=0).tolist() if found else (float("nan"),) * 2
        return {"mae": mae, "macro_mae": macro}


def _collect(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of equal clients and classes added up, in ascending order."""
    keys, which = np.unique(rows[:, :2], axis=0, return_inverse=True)
    sums = np.zeros((len(keys), 2), np.int64)
    np.add.at(sums, which.reshape(-1), rows[:, 2:])
    return np.concatenate([keys, sums], axis=1)
