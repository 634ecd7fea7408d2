"""Sharpness-aware minimisation: the gradient is taken where the loss nearby is highest.

Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization for Efficiently Improving Generalization. ICLR 2021,
algorithm 1 with p = 2: g(w + rho g(w) / ||g(w)||). Inside FedAvg it is FedSAM: Qu, Li, Duan, Liu, Tang, Lu: Generalized
Federated Learning via Sharpness Aware Minimization. ICML 2022. Running statistics of batch normalisation follow the
first pass only, as in the authors' later code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from fedlt.blocks.sharpness import uphill
from fedlt.data.site import Batch, Site
from fedlt.learners.cross_entropy import CrossEntropy


@dataclass(frozen=True)
class SAM(CrossEntropy):
    """Cross-entropy, or the strategy's loss, with two forward and backward passes a step."""

    rho: Annotated[float, "> 0"] = 0.05  # length of the step uphill, in the norm of all trained parameters

    def gradient(self, site: Site, loss: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        value = super().gradient(site, loss, batch)
        slopes = [(p, p.grad) for p in site.model.parameters() if p.grad is not None]
        with uphill(site.model, slopes, self.rho):
            super().gradient(site, loss, batch)
        site.trainer.passed(len(batch))
        return value
