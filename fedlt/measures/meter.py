"""Collects logits of many small evaluations and turns them into `Confidence` sums, many at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fedlt.learner import Prediction
from fedlt.measures.confidence import BINS, LOWEST_LOG_ODDS, MOST_NATS, RANKS, RANKS_PER_NAT, UNIT, Confidence
from fedlt.measures.own import OwnSums

HELD = 2**22  # numbers held back at most; softmax over one client's few rows would cost its call, not its arithmetic


@dataclass
class Meters:
    """One `Confidence` for each model and variant, as `model:variant`. own: what metrics of a user's own sum."""

    own: OwnSums | None = None
    _held: dict[str, list[_Part]] = field(default_factory=dict)
    _done: dict[str, list[Confidence]] = field(default_factory=dict)
    _size: int = 0

    def add(
        self,
        model: str,
        logits: dict[str, Tensor],
        targets: Tensor,
        client: int = -1,
        said: Prediction | None = None,
        rows: Tensor | None = None,
    ) -> None:
        """Logits [B, C] of each variant; targets: [B]; client: whose personal model it is. said: what the model itself
        says of its uncertainty, which otherwise follows from the confidence, and of the experts asked. rows: [B] their
        numbers, for `own`."""
        if self.own is not None and rows is not None:
            self.own.add(model, logits, targets, client, rows)
        for variant, value in logits.items():
            self._held.setdefault(f"{model}:{variant}", []).append(_Part(value.detach(), targets, said, client))
            self._size += value.numel()
        if self._size > HELD:
            self._flush()

    def results(self) -> dict[str, Confidence]:
        """The sums of all that was added."""
        self._flush()
        return {key: Confidence.merge(parts) for key, parts in self._done.items()}

    def _flush(self) -> None:
        for key, parts in self._held.items():
            logits, targets = torch.cat([part.logits for part in parts]), torch.cat([part.targets for part in parts])
            owners = np.repeat([part.client for part in parts], [len(part.targets) for part in parts])
            said = _said(parts, "uncertainty", torch.nan), _said(parts, "experts", 0)
            samples = _samples(logits, targets, *said).cpu().numpy()
            self._done.setdefault(key, []).append(Confidence.from_samples(samples, owners))
        self._held, self._size = {}, 0


@dataclass(frozen=True)
class _Part:
    logits: Tensor
    targets: Tensor
    said: Prediction | None
    client: int


def _said(parts: list[_Part], name: str, missing: float) -> Tensor | None:
    """[N] of what the models say, `missing` where one does not; None where none does."""
    each = [getattr(part.said, name, None) for part in parts]
    if all(value is None for value in each):
        return None
    filled = [
        torch.full((len(part.targets),), missing, device=part.targets.device) if value is None else value.detach()
        for part, value in zip(parts, each, strict=True)
    ]
    return torch.cat([value.float() for value in filled])


def _samples(logits: Tensor, targets: Tensor, uncertainty: Tensor | None, experts: Tensor | None) -> Tensor:
    """[N, 7] of logits [N, C], uncertainties [N], NaN or None where the confidence is to tell, and experts asked [N];
    see `Confidence.from_samples`. A row of logits that is not finite counts as confidence 0."""
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
        torch.zeros_like(loss) if experts is None else experts,
    )

    return torch.stack([column.round().long() for column in columns], 1)
