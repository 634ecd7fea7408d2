"""The generic model on each client's own test samples, which are rows of the global test set."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.statistic import Arrays, Columns, Known, Predicted, Statistic, Subject


class OwnRows(Statistic):
    """Which rows of the global test set the generic model predicts correctly.

    It sits beside the clients' own accuracies (`clients.generic`), so that both models are compared on the very same
    samples: under plain FedAvg the two are equal.
    """

    title = "the generic model on clients' own samples"

    def start(self) -> None:
        self._rows = np.zeros(0, np.int32)
        self._right = np.zeros(0, np.uint8)
        self._batches: list[tuple[Tensor, Tensor]] = []  # rows, whether they are right; on their device

    def measures(self, subject: Subject) -> bool:
        return subject.kind == "generic" and not subject.validation

    def add(self, batch: Predicted) -> None:
        self._batches.append((batch.rows, batch.logits.argmax(1) == batch.targets))  # waits for no device

    def merge(self, other: Self) -> None:
        rows, right = other.held
        self._rows, self._right = _ascending(np.append(self.held[0], rows), np.append(self.held[1], right))

    @property
    def held(self) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """[n] rows, ascending, and [n] 1 where the prediction is right."""
        if self._batches:
            rows, right = (torch.cat(parts).cpu().numpy() for parts in zip(*self._batches, strict=True))
            self._rows, self._right = _ascending(np.append(self._rows, rows), np.append(self._right, right))
            self._batches = []
        return self._rows, self._right

    def to_arrays(self) -> Arrays:
        rows, right = self.held
        return {"rows": rows, "right": right}

    def from_arrays(self, arrays: Arrays) -> None:
        self._rows, self._right = arrays["rows"], arrays["right"]

    def figures(self, known: Known) -> dict[str, float]:
        """None: the mean over clients would be a figure of the partition as much as of the model."""
        return {}

    def rows(self, known: Known) -> dict[str, Columns]:
        """The generic model's accuracy on each client's own test rows."""
        rows, right = self.held
        assert known.tests is not None
        values, offsets = known.tests.values, known.tests.offsets
        place = np.searchsorted(rows, values).clip(max=len(rows) - 1)
        tested = rows[place] == values  # all, unless a part of the test set could not be evaluated
        sums = np.concatenate([[0], np.cumsum(right[place] * tested)])
        counts = np.concatenate([[0], np.cumsum(tested)])
        right_of, count_of = (np.diff(total[offsets]) for total in (sums, counts))
        share = np.full(len(count_of), np.nan)
        np.divide(right_of, count_of, out=share, where=count_of > 0)
        return {"clients": {"client": np.arange(len(share)), "generic": share}}


def _ascending(rows: NDArray[np.integer], right: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    order = np.argsort(rows, kind="stable")
    return rows[order].astype(np.int32), right[order].astype(np.uint8)
