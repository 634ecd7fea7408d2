"""The loss of each domain, for `evaluation.metrics`: domains are the parents of classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt import Metric
from fedlt.data.task import Task


@dataclass(frozen=True)
class DomainLoss(Metric):
    """Figures `loss_0`, `loss_1`, ...: mean negative log-likelihood over the test rows of each domain."""

    def sums(self, logits: Tensor, y: Tensor, task: Task) -> Mapping[str, Any]:
        assert task.parents is not None
        domains = torch.as_tensor(task.parents)[y]
        length = int(task.parents.max()) + 1
        nll = F.cross_entropy(logits, y, reduction="none")
        return {
            "loss": torch.zeros(length).index_add(0, domains, nll),
            "rows": torch.bincount(domains, minlength=length),
        }

    def figures(self, sums: Mapping[str, Any]) -> Mapping[str, float]:
        pairs = zip(sums["loss"], sums["rows"], strict=True)
        return {f"loss_{place}": float(loss / rows) if rows else math.nan for place, (loss, rows) in enumerate(pairs)}
