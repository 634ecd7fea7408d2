"""How far a model's confidence can be trusted: calibration error, negative log-likelihood, Brier score, and whether
confidence tells right from wrong predictions.

All sums are integers (probabilities in units of 2^-24), so that they merge exactly in any order and grouping, as
confusion matrices do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Equal bins of confidence in (0, 1] for the calibration error, as in Guo et al., ICML 2017."""
UNIT = 2**24
"""Parts of one in which probabilities and nats are counted; float32 knows no finer ones near 1."""
RANKS = 1024
"""Bins by log-odds of the confidence, or by the log of a model's own uncertainty, in which right and wrong predictions
are ranked."""
RANKS_PER_NAT, LOWEST_LOG_ODDS = 32, -8.0
MOST_NATS = 20.0
"""The largest loss of one sample: a masked model gives an excluded class probability 0, whose log is not finite."""

_COUNT, _CORRECT, _CONFIDENCE = slice(0, BINS), slice(BINS, 2 * BINS), slice(2 * BINS, 3 * BINS)
_NLL, _BRIER, _EXPERTS = range(3 * BINS, 3 * BINS + 3)
_RANKS = slice(3 * BINS + 3, 3 * BINS + 3 + 2 * RANKS)
CELLS = _RANKS.stop


@dataclass(frozen=True, eq=False)
class Confidence:
    """Sums over the predictions of one model, or of one kind of personal model.

    cells: int64 [CELLS], pooled over all samples: by bin the samples, the correct ones and the confidences; then loss,
    Brier score and experts asked; then, by rank, the wrong and the correct predictions. clients: int64 [K, 4] rows of
    client, samples, loss and Brier score, in ascending order of clients; none for a generic model.
    """

    cells: NDArray[np.int64]
    clients: NDArray[np.int64]

    @classmethod
    def from_samples(cls, samples: NDArray[np.int64], owners: NDArray[np.int64]) -> Confidence:
        """samples: int64 [N, 7] of bin, correct (0 or 1), confidence, loss, Brier score, rank, experts asked (0: not
        said). owners: int64 [N], each sample's client, -1 for none."""
        bins, correct, confidence, loss, brier, rank, experts = samples.T
        cells = np.zeros(CELLS, np.int64)
        np.add.at(cells[_COUNT], bins, 1)
        np.add.at(cells[_CORRECT], bins, correct)
        np.add.at(cells[_CONFIDENCE], bins, confidence)
        cells[_NLL], cells[_BRIER], cells[_EXPERTS] = loss.sum(), brier.sum(), experts.sum()
        np.add.at(cells[_RANKS], 2 * rank + correct, 1)
        held = owners >= 0
        sums = np.stack([np.ones_like(loss), loss, brier], axis=1)[held]
        return cls(cells, _by_client(owners[held], sums))

    @classmethod
    def merge(cls, parts: Iterable[Confidence]) -> Confidence:
        """The sums over the union of the parts' samples. Needs at least one part."""
        items = list(parts)
        rows = np.concatenate([item.clients for item in items])
        return cls(np.sum([item.cells for item in items], axis=0), _by_client(rows[:, 0], rows[:, 1:]))

    @property
    def total(self) -> int:
        """Samples."""
        return int(self.cells[_COUNT].sum())

    def curve(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """[BINS] each: samples, accuracy and mean confidence of each bin; NaN where a bin is empty."""
        count = self.cells[_COUNT]
        confidence = _ratio(self.cells[_CONFIDENCE] / UNIT, count)
        return count, _ratio(self.cells[_CORRECT], count), confidence

    def curve_columns(self) -> dict[str, NDArray[Any]]:
        """The curve as columns of the table of calibration."""
        samples, accuracy, confidence = self.curve()
        return {"bin": np.arange(BINS), "samples": samples, "accuracy": accuracy, "confidence": confidence}

    def calibration_error(self) -> float:
        """Expected calibration error: |accuracy - confidence| of the bins, weighted by their samples."""
        if not self.total:
            return float("nan")
        gaps = np.abs(self.cells[_CORRECT] - self.cells[_CONFIDENCE] / UNIT)
        return float(gaps.sum() / self.total)

    def failure_auroc(self) -> float:
        """Probability that a correct prediction has the higher confidence than a wrong one; ties count one half.

        NaN where all predictions are right, or all wrong.
        """
        wrong, correct = self.cells[_RANKS].reshape(RANKS, 2).T
        if not wrong.any() or not correct.any():
            return float("nan")
        below = np.cumsum(wrong) - wrong / 2
        return float((correct * below).sum() / (int(wrong.sum()) * int(correct.sum())))

    def figures(self, prefix: str) -> dict[str, float]:
        """`prefix/ece`, `nll`, `brier`, `failure_auroc`. Loss and Brier score of personal models are unweighted means
        over the clients; the other two need more samples than a client has, and are pooled. And `prefix/experts`, mean
        experts asked for a sample, where the model says so."""
        if len(self.clients):
            nll, brier = (self.per_client()[1:].mean(axis=1)).tolist()
        else:
            nll, brier = (_ratio(self.cells[[_NLL, _BRIER]] / UNIT, self.total)).tolist()
        figures = {"ece": self.calibration_error(), "nll": nll, "brier": brier, "failure_auroc": self.failure_auroc()}
        if self.cells[_EXPERTS]:
            figures["experts"] = int(self.cells[_EXPERTS]) / self.total
        return {f"{prefix}/{name}": value for name, value in figures.items()}

    def per_client(self) -> NDArray[np.float64]:
        """[3, K]: clients' ids, mean losses in nats and mean Brier scores."""
        ids, count, loss, brier = self.clients.T
        return np.stack([ids.astype(np.float64), loss / UNIT / count, brier / UNIT / count])


def _by_client(owners: NDArray[np.int64], sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """[K, 1 + n] sums [N, n] of equal owners [N], with the owner before them, in ascending order."""
    ids, which = np.unique(owners, return_inverse=True)
    added = np.zeros((len(ids), sums.shape[1]), np.int64)
    np.add.at(added, which, sums)
    return np.concatenate([ids[:, None], added], axis=1)


def _ratio(part: NDArray[np.generic], whole: NDArray[np.int64] | int) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: not defined
        return np.asarray(part / np.asarray(whole), np.float64)
