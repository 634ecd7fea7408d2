"""The statistic of two classes that are told apart by a score: the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fedlt.measures.metrics import spread
from fedlt.measures.ranking import lengths_of
from fedlt.measures.sums import mean_defined
from fedlt.statistic import Arrays, Columns, Known, Predicted, Statistic


def auroc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive has a higher score than a negative; NaN where one of both is missing.

    Args:
        scores: [n], of any scale, since only their order counts; ties count one half.
        positive: bool [n] which of them should be high.
    """
    many, other = int(positive.sum()), int((~positive).sum())
    if not many or not other:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - many * (many + 1) / 2) / (many * other))


class Areas(Statistic):
    """Scores of all samples of one model.

    cells: int64 [N, 4] of client, row, class and items of the history (-1: not known), ascending. scores: float32 [N].
    """

    title = "the area under the ROC curve"

    def start(self) -> None:
        self.cells, self.scores = np.zeros((0, 4), np.int64), np.zeros(0, np.float32)

    def add(self, batch: Predicted) -> None:
        rows, y = (part.numpy(force=True) for part in (batch.rows, batch.targets))
        lengths = lengths_of(batch, self.task).numpy(force=True)
        logits = batch.logits.float().numpy(force=True)
        with np.errstate(invalid="ignore"):  # of a masked model both may be -inf
            scores = np.nan_to_num(logits[:, 1] - logits[:, 0])
        self._take(np.stack([np.full_like(rows, batch.client), rows, y, lengths], 1), scores)

    def merge(self, other: Self) -> None:
        self._take(other.cells, other.scores)

    def _take(self, cells: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        cells, scores = np.concatenate([self.cells, cells]), np.concatenate([self.scores, scores])
        order = np.lexsort(cells[:, 1::-1].T)
        self.cells, self.scores = cells[order], scores[order]

    def to_arrays(self) -> Arrays:
        return {"cells": self.cells, "scores": self.scores}

    def forget(self, clients: Collection[int]) -> None:
        stays = ~np.isin(self.cells[:, 0], list(clients))
        self.cells, self.scores = self.cells[stays], self.scores[stays]

    def figures(self, known: Known) -> dict[str, float]:
        """`auc` over all samples, `auc_short` over those of short histories; of personal models the means over the
        clients that have samples of both classes.
        """
        each = list(self._by_client().values())
        found = mean_defined(each)
        if self.subject.kind != "generic":
            found |= spread(np.array([one["auc"] for one in each]))
        return found

    def rows(self, known: Known) -> dict[str, Columns]:
        """The area by client, of personal models."""
        if self.subject.kind == "generic":
            counts = np.bincount(self.cells[:, 2], minlength=self.task.num_classes)
            return {"classes": {"class": np.arange(len(counts)), "test_count": counts}}
        found = self._by_client()
        clients, areas = np.array(list(found), np.int64), np.array([each["auc"] for each in found.values()])
        if self.subject.kind == "personal":
            samples = np.unique(self.cells[:, 0], return_counts=True)[1]
            return {"clients": {"client": clients, "test_samples": samples, "auc": areas}}
        return {"clients": {"client": clients, "auc_masked": areas}}

    def _by_client(self) -> dict[int, dict[str, float]]:
        clients, starts = np.unique(self.cells[:, 0], return_index=True)
        bounds = [*starts.tolist(), len(self.cells)]
        found = {}
        for client, start, stop in zip(clients.tolist(), bounds, bounds[1:], strict=False):
            _, _, y, lengths = self.cells[start:stop].T
            scores = self.scores[start:stop]
            short = (lengths >= 0) & (lengths <= self.task.target.short)  # type: ignore[attr-defined]
            found[client] = {"auc": auroc(scores, y == 1), "auc_short": auroc(scores[short], y[short] == 1)}
        return found
