"""What statistics share that count something of each prediction, apart for each client and true class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fedlt.statistic import Arrays, Predicted, Statistic


class CountsByClass(Statistic):
    """Sums of whole numbers by client and true class, which add up exactly in any order.

    cells: int64 [n, 3 + S] rows of client, true class, samples and S sums, ascending.

    Attributes:
        counted: S.
    """

    counted: ClassVar[int] = 1

    @abstractmethod
    def of_each(self, batch: Predicted) -> NDArray[np.int64]:
        """[B, S] what is added up of each sample."""

    def start(self) -> None:
        self.cells = np.zeros((0, 3 + self.counted), np.int64)

    def add(self, batch: Predicted) -> None:
        true = batch.targets.numpy(force=True)
        keys = np.stack([np.full_like(true, batch.client), true, np.ones_like(true)], axis=1)
        self.cells = _collect(np.concatenate([self.cells, np.concatenate([keys, self.of_each(batch)], axis=1)]))

    def merge(self, other: Self) -> None:
        self.cells = _collect(np.concatenate([self.cells, other.cells]))

    def to_arrays(self) -> Arrays:
        return {"cells": self.cells}

    def forget(self, clients: Collection[int]) -> None:
        self.cells = self.cells[~np.isin(self.cells[:, 0], list(clients))]

    def by_client(self) -> Iterator[NDArray[np.int64]]:
        """For each client, [2 + S, m]: its m true classes, their samples, and the sums."""
        for client in np.unique(self.cells[:, 0]):
            yield self.cells[self.cells[:, 0] == client].T[1:]


def _collect(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of equal clients and classes added up, in ascending order."""
    keys, which = np.unique(rows[:, :2], axis=0, return_inverse=True)
    sums = np.zeros((len(keys), rows.shape[1] - 2), np.int64)
    np.add.at(sums, which.reshape(-1), rows[:, 2:])
    return np.concatenate([keys, sums], axis=1)
