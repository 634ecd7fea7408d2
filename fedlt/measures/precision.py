"""The statistic of several labels a sample: average precision of each class, and its mean over classes.

Average precision needs the order of all scores, so scores are kept as they are. It is the sum over thresholds of
precision times the step in recall, equal scores being one threshold, without interpolation; unknown labels count
neither way.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedlt.data.groups import by_mass
from fedlt.measures.metrics import GROUPS, spread
from fedlt.measures.sums import mean_defined
from fedlt.statistic import NOBODY, Arrays, Columns, Known, Predicted, Statistic

UNKNOWN = -1
"""A label that nobody knows; as `fedlt.data.kinds.multilabel` has it."""


class AveragePrecision(Statistic):
    """Scores and labels of all samples of one model.

    owner: int64 [N, 2] client and row of each sample, ascending. scores: float32 [N, C]. labels: int8 [N, C] of 1, 0
    and `UNKNOWN`.
    """

    title = "the average precision"

    def start(self) -> None:
        """No scores yet."""
        classes = self.task.num_classes
        self._parts: list[Arrays] = [
            {
                "owner": np.zeros((0, 2), np.int64),
                "scores": np.zeros((0, classes), np.float32),
                "labels": np.zeros((0, classes), np.int8),
            }
        ]

    def add(self, batch: Predicted) -> None:
        """Keep scores and labels: average precision needs all of them, in one order."""
        rows = batch.rows.numpy(force=True)
        self._parts.append(
            {
                "owner": np.stack([np.full_like(rows, batch.client), rows], axis=1),
                "scores": batch.logits.float().numpy(force=True),
                "labels": batch.targets.numpy(force=True).astype(np.int8),
            }
        )

    def merge(self, other: Self) -> None:
        self._parts.append(other.to_arrays())

    def to_arrays(self) -> Arrays:
        """Samples in the order of clients and rows."""
        if len(self._parts) > 1:
            whole = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
            order = np.lexsort(whole["owner"].T[::-1])
            self._parts = [{name: value[order] for name, value in whole.items()}]
        return self._parts[0]

    def from_arrays(self, arrays: Arrays) -> None:
        self._parts = [arrays]

    def forget(self, clients: Collection[int]) -> None:
        arrays = self.to_arrays()
        stays = ~np.isin(arrays["owner"][:, 0], list(clients))
        self._parts = [{name: value[stays] for name, value in arrays.items()}]

    def by_client(self) -> dict[int, NDArray[np.float64]]:
        """[C] average precisions on each client's samples; those of the generic model stand under `NOBODY`."""
        arrays = self.to_arrays()
        clients, starts = np.unique(arrays["owner"][:, 0], return_index=True)
        bounds = [*starts.tolist(), len(arrays["owner"])]
        return {
            client: average_precisions(arrays["scores"][start:stop], arrays["labels"][start:stop])
            for client, start, stop in zip(clients.tolist(), bounds, bounds[1:], strict=False)
        }

    def figures(self, known: Known) -> dict[str, float]:
        """`map`, the mean over the classes that have a positive sample, and `map_many`, `map_medium`, `map_few` over
        those of the head, the middle and the tail, by training counts. Of personal models the means over clients, by
        each client's own groups, and how `map` is spread over them, as in `personal_summary`.
        """
        each = [_means(found, self._groups(client, known)) for client, found in self.by_client().items()]
        figures = mean_defined(each)
        if self.subject.kind != "generic":
            figures |= spread(np.array([one["map"] for one in each]))
        return figures

    def rows(self, known: Known) -> dict[str, Columns]:
        """Average precision by class, or its mean by client."""
        arrays = self.to_arrays()
        if self.subject.kind == "generic":
            columns = {
                "class": np.arange(self.task.num_classes),
                "test_count": (arrays["labels"] == 1).sum(axis=0),
                "average_precision": average_precisions(arrays["scores"], arrays["labels"]),
            }
            return {"classes": columns} | self._on_clients(known)

        clients, samples = np.unique(arrays["owner"][:, 0], return_counts=True)
        values = [_means(found, self._groups(client, known)) for client, found in self.by_client().items()]
        found = {name: np.array([value[name] for value in values]) for name in _NAMES}
        if self.subject.kind == "personal":
            return {"clients": {"client": clients, "test_samples": samples, **found}}
        return {"clients": {"client": clients, "map_masked": found["map"]}}

    def _on_clients(self, known: Known) -> dict[str, Columns]:
        """`clients.generic`, the mean average precision of the generic model on each client's own test samples."""
        if known.tests is None:
            return {}
        arrays, rows, offsets = self.to_arrays(), known.tests.values, known.tests.offsets
        place = np.searchsorted(arrays["owner"][:, 1], rows).clip(max=max(len(arrays["owner"]) - 1, 0))
        means = np.full(len(offsets) - 1, np.nan)
        for client, (start, stop) in enumerate(pairwise(offsets.tolist())):
            own = place[start:stop]
            own = own[arrays["owner"][own, 1] == rows[start:stop]]  # all, unless a part of the set was not evaluated
            each = average_precisions(arrays["scores"][own], arrays["labels"][own])
            if not np.isnan(each).all():
                means[client] = np.nanmean(each)
        return {"clients": {"client": np.arange(len(means)), "generic": means}}

    def _groups(self, client: int, known: Known) -> NDArray[np.int8]:
        return known.groups if client == NOBODY else by_mass(known.client_counts(client))


_NAMES = ("map", *(f"map_{group}" for group in GROUPS))


def _means(found: NDArray[np.float64], groups: NDArray[np.int8]) -> dict[str, float]:
    """Means of average precisions [C] where they are defined, over all classes and over each group."""
    chosen = [np.ones(len(found), bool), *(groups == group for group in range(3))]
    parts = [found[which & ~np.isnan(found)] for which in chosen]
    return {name: float(part.mean()) if len(part) else float("nan") for name, part in zip(_NAMES, parts, strict=True)}


def average_precisions(scores: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.float64]:
    """[C] of scores and labels [N, C]; NaN for a class without a positive sample."""
    precisions = np.full(scores.shape[1], np.nan)
    for number, (score, label) in enumerate(zip(scores.T, labels.T, strict=True)):
        known = label != UNKNOWN
        score, positive = score[known], label[known] == 1
        if not positive.any():
            continue

        order = np.argsort(-score, kind="stable")
        score, right = score[order], np.cumsum(positive[order])
        last = np.append(score[1:] != score[:-1], True)  # of each group of equal scores
        recall, precision = right[last] / right[-1], right[last] / (np.flatnonzero(last) + 1)
        precisions[number] = float((np.diff(recall, prepend=0.0) * precision).sum())

    return precisions
