"""The statistic of classes with parents: how often a prediction is at least under the right parent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlt.measures.by_class import CountsByClass
from fedlt.statistic import Known, Predicted


class TreeErrors(CountsByClass):
    """Wrong predictions, and those of them that name a class of another parent, by client and true class."""

    title = "the errors in the tree of classes"
    counted = 2

    def of_each(self, batch: Predicted) -> NDArray[np.int64]:
        assert self.task.parents is not None
        true, said = batch.targets.numpy(force=True), batch.logits.argmax(1).numpy(force=True)
        parents = self.task.parents
        return np.stack([said != true, parents[said] != parents[true]], axis=1).astype(np.int64)

    def figures(self, known: Known) -> dict[str, float]:
        """`parent_accuracy`, over the samples; `parent_recall`, the mean over the parents of the same; and
        `sibling_errors`, the share of the errors that stay under the right parent. Of personal models the means over
        the clients for whom each is defined.
        """
        assert self.task.parents is not None
        found = [
            _figures(self.task.parents[classes], samples, wrong, astray)
            for classes, samples, wrong, astray in self.by_client()
        ]
        names = "parent_accuracy", "parent_recall", "sibling_errors"
        return {name: _mean([figures[place] for figures in found]) for place, name in enumerate(names)}


def _figures(
    parents: NDArray[np.int64], samples: NDArray[np.int64], wrong: NDArray[np.int64], astray: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Those of one model.

    Args:
        parents: [m] of its true classes.
        samples, wrong, astray: [m] sums of each class.
    """
    of_parent, missed = np.bincount(parents, samples), np.bincount(parents, astray)
    there = of_parent > 0
    recall = 1 - missed[there] / of_parent[there]
    siblings = (1 - astray.sum() / wrong.sum()) if wrong.sum() else float("nan")
    return float(1 - astray.sum() / samples.sum()), float(recall.mean()), float(siblings)


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")
