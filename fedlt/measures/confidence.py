"""How far a model's confidence can be trusted: calibration error, negative log-likelihood, Brier score, and whether
confidence tells right from wrong predictions.

All sums are integers (probabilities in units of 2^-24), so that they merge exactly in any order and grouping, as
confusion matrices do.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.learner import Prediction
from fedlt.statistic import NOBODY, Arrays, Columns, Known, Predicted, Statistic

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

HELD = 2**20  # numbers held back at most; softmax over one client's few rows would cost its call, not its arithmetic

_COUNT, _CORRECT, _CONFIDENCE = slice(0, BINS), slice(BINS, 2 * BINS), slice(2 * BINS, 3 * BINS)
_NLL, _BRIER = range(3 * BINS, 3 * BINS + 2)
_RANKS = slice(3 * BINS + 2, 3 * BINS + 2 + 2 * RANKS)
CELLS = _RANKS.stop


class Confidence(Statistic):
    """Sums over the predictions of one model, or of one kind of personal model.

    Attributes:
        cells: int64 [CELLS], pooled over all samples: by bin the samples, the correct ones and the confidences; then
            loss and Brier score; then, by rank, the wrong and the correct predictions.
        clients: int64 [K, 4] rows of client, samples, loss and Brier score, in ascending order of clients; none for a
            generic model.
    """

    title = "the confidence"

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor) -> Self:
        """That of one model's predictions. logits: [N, C]. targets: [N] classes."""
        made = cls()
        made.start()
        made.add(Predicted(Prediction(logits), targets, torch.arange(len(targets))))
        made._count()
        return made

    def start(self) -> None:
        self.cells = np.zeros(CELLS, np.int64)
        self.clients = np.zeros((0, 4), np.int64)
        self._batches: list[Predicted] = []
        self._size = 0

    def add(self, batch: Predicted) -> None:
        self._batches.append(batch)
        self._size += batch.logits.numel()
        if self._size > HELD:
            self._count()

    def merge(self, other: Self) -> None:
        found = other.to_arrays()
        self._count()
        self._take(found["cells"], found["clients"])

    def to_arrays(self) -> Arrays:
        self._count()
        return {"cells": self.cells, "clients": self.clients}

    def _count(self) -> None:
        """Take in the batches that were held back."""
        if not self._batches:
            return
        logits = torch.cat([batch.logits.detach() for batch in self._batches])
        targets = torch.cat([batch.targets for batch in self._batches])
        samples = _samples(logits, targets, _uncertainty([batch.found for batch in self._batches])).cpu().numpy()
        owners = np.repeat([batch.client for batch in self._batches], [len(batch.targets) for batch in self._batches])
        self._batches, self._size = [], 0

        bins, correct, confidence, loss, brier, rank = samples.T
        cells = np.zeros(CELLS, np.int64)
        np.add.at(cells[_COUNT], bins, 1)
        np.add.at(cells[_CORRECT], bins, correct)
        np.add.at(cells[_CONFIDENCE], bins, confidence)
        cells[_NLL], cells[_BRIER] = loss.sum(), brier.sum()
        np.add.at(cells[_RANKS], 2 * rank + correct, 1)
        rows = np.stack([owners, np.ones_like(loss), loss, brier], axis=1)
        self._take(cells, rows[owners != NOBODY])

    def _take(self, cells: NDArray[np.int64], clients: NDArray[np.int64]) -> None:
        rows = np.concatenate([self.clients, clients])
        self.cells, self.clients = self.cells + cells, _by_client(rows[:, 0], rows[:, 1:])

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

    def figures(self, known: Known) -> dict[str, float]:
        """`ece`, `nll`, `brier`, `failure_auroc`.

        Loss and Brier score of personal models are unweighted means over the clients; the other two need more samples
        than a client has, and are pooled.
        """
        if len(self.clients):
            nll, brier = (self.per_client()[1:].mean(axis=1)).tolist()
        else:
            nll, brier = self.pooled()
        return {"ece": self.calibration_error(), "nll": nll, "brier": brier, "failure_auroc": self.failure_auroc()}

    def pooled(self) -> tuple[float, float]:
        """Mean loss in nats and mean Brier score over all samples."""
        nll, brier = _ratio(self.cells[[_NLL, _BRIER]] / UNIT, self.total).tolist()
        return nll, brier

    def rows(self, known: Known) -> dict[str, Columns]:
        """The calibration curve, and loss and Brier score of each client."""
        found: dict[str, Columns] = {"calibration": self.curve_columns()}
        if self.subject.kind == "personal":
            ids, nll, brier = self.per_client()
            found["clients"] = {"client": ids.astype(np.int64), "nll": nll, "brier": brier}
        return found

    def per_client(self) -> NDArray[np.float64]:
        """[3, K]: clients' ids, mean losses in nats and mean Brier scores."""
        ids, count, loss, brier = self.clients.T
        return np.stack([ids.astype(np.float64), loss / UNIT / count, brier / UNIT / count])


def _uncertainty(found: list[Prediction]) -> Tensor | None:
    """[N] what models say of their own uncertainty, NaN where one does not; None where none does."""
    if all(one.uncertainty is None for one in found):
        return None
    return torch.cat(
        [
            one.logits.new_full((len(one.logits),), torch.nan).float()
            if one.uncertainty is None
            else one.uncertainty.detach().float()
            for one in found
        ]
    )


def _samples(logits: Tensor, targets: Tensor, uncertainty: Tensor | None) -> Tensor:
    """int64 [N, 6] of bin, correct (0 or 1), confidence, loss, Brier score and rank.

    Args:
        logits: [N, C]; a row that is not finite counts as confidence 0.
        uncertainty: [N], NaN or None where the confidence is to tell.
    """
    logs = torch.log_softmax(logits.float(), 1)
    probabilities = logs.exp()
    top = logs.amax(1)
    loss = -logs.gather(1, targets[:, None]).squeeze(1)
    brier = probabilities.square().sum(1) - 2 * (-loss).exp() + 1  # sum over classes of (p - [class is true])^2
    sureness = top - (-torch.expm1(top)).log()
    if uncertainty is not None:
        sureness = torch.where(uncertainty.isnan(), sureness, -uncertainty.log())

    confidence = top.exp().nan_to_num(0.0)
    columns = (
        (confidence * BINS).ceil().clamp(1, BINS) - 1,
        (logits.argmax(1) == targets).float(),
        confidence * UNIT,
        loss.nan_to_num(MOST_NATS).clamp(0.0, MOST_NATS) * UNIT,
        brier.nan_to_num(2.0) * UNIT,
        ((sureness.nan_to_num(-torch.inf) - LOWEST_LOG_ODDS) * RANKS_PER_NAT).floor().clamp(0, RANKS - 1),
    )

    return torch.stack([column.round().long() for column in columns], 1)


def _by_client(owners: NDArray[np.int64], sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """[K, 1 + n] sums [N, n] of equal owners [N], with the owner before them, in ascending order."""
    ids, which = np.unique(owners, return_inverse=True)
    added = np.zeros((len(ids), sums.shape[1]), np.int64)
    np.add.at(added, which, sums)
    return np.concatenate([ids[:, None], added], axis=1)


def _ratio(part: NDArray[np.generic], whole: NDArray[np.int64] | int) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: not defined
        return np.asarray(part / np.asarray(whole), np.float64)
