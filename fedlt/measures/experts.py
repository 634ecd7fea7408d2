"""How many experts were asked for a sample, of learners that may ask fewer than they have and say how many."""

from __future__ import annotations

from typing import Self

import numpy as np

from fedlt.statistic import Arrays, Known, Predicted, Statistic


class ExpertsAsked(Statistic):
    """Reads the column `experts` of `Prediction.extra`: [B], how many were asked.

    Samples of which none is told count as none; a model that never tells has no figure.
    """

    title = "the number of experts"

    def start(self) -> None:
        self.counts = np.zeros(2, np.int64)  # experts asked, samples

    def add(self, batch: Predicted) -> None:
        asked = batch.found.extra.get("experts")
        told = 0 if asked is None else int(asked.float().round().long().sum())
        self.counts += [told, len(batch.targets)]

    def merge(self, other: Self) -> None:
        self.counts += other.counts

    def to_arrays(self) -> Arrays:
        return {"counts": self.counts}

    def figures(self, known: Known) -> dict[str, float]:
        """`experts`, the mean over all samples."""
        asked, samples = self.counts.tolist()
        return {"experts": asked / samples} if asked else {}
