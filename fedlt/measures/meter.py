"""Collects logits of many small evaluations and turns them into `Confidence` sums, many at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fedlt.measures.confidence import BINS, LOWEST_LOG_ODDS, MOST_NATS, RANKS, RANKS_PER_NAT, UNIT, Confidence

HELD = 2**22  # numbers held back at most; softmax over one client's few rows would cost its call, not its arithmetic


@dataclass
class Meters:
    """One `Confidence` for each model and variant, as `model:variant`."""

    _held: dict[str, list[tuple[Tensor, Tensor, Tensor | None, int]]] = field(default_factory=dict)
    _done: dict[str, list[Confidence]] = field(default_factory=dict)
    _size: int = 0

    def add(
        self,
        model: str,
        logits: dict[str, Tensor],
        targets: Tensor,
        client: int = -1,
        uncertainty: Tensor | None = None,
    ) -> None:
        """Logits [B, C] of each variant; targets: [B]; client: whose personal model it is. uncertainty: [B] what the
        model itself says of it; None: it follows from the confidence."""
        for variant, value in logits.items():
            self._held.setdefault(f"{model}:{variant}", []).append((value.detach(), targets, uncertainty, client))
            self._size += value.numel()
        if self._size > HELD:
            self._flush()

    def results(self) -> dict[str, Confidence]:
        """The sums of all that was added."""
        self._flush()
        return {key: Confidence.merge(parts) for key, parts in self._done.items()}

    def _flush(self) -> None:
        for key, parts in self._held.items():
            logits, targets = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
            own = None
            if any(part[2] is not None for part in parts):
                own = torch.cat([_unknown(part[1]) if part[2] is None else part[2].detach().float() for part in parts])
            owners = np.repeat([part[3] for part in parts], [len(part[1]) for part in parts])
            samples = _samples(logits, targets, own).cpu().numpy()
            self._done.setdefault(key, []).append(Confidence.from_samples(samples, owners))
        self._held, self._size = {}, 0


def _unknown(targets: Tensor) -> Tensor:
    """[B] uncertainties of a model that reports none."""
    return torch.full((len(targets),), torch.nan, device=targets.device)


def _samples(logits: Tensor, targets: Tensor, uncertainty: Tensor | None) -> Tensor:
    """[N, 6] of logits [N, C] and uncertainties [N], NaN or None where the confidence is to tell; see
    `Confidence.from_samples`. A row of logits that is not finite counts as confidence 0."""
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
