"""Focal-SAM: the loss is made flat around the weights, and the more so for a class the rarer it is.

Li, Xu, Yang, Wang, Cao, Huang: Focal-SAM: Focal Sharpness-Aware Minimization for Long-Tailed Classification. ICML 2025.
Of each sample's loss the share k_c = sharpness (1 - n_c / n)^gamma is taken where that part of the batch's loss is
highest nearby, as in SAM, and the rest where the weights are: head classes hardly take part in the step uphill, whose
direction is the tail's. The loss is logit adjustment, as in the authors' scripts. Differs from the official code:
running statistics of batch normalisation follow the first pass only, shares and prior are of the site's own counts,
and what a strategy adds to the loss, such as a proximal term, belongs to the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import log_prior
from fedlt.blocks.sharpness import uphill
from fedlt.data.site import Batch, Site
from fedlt.learners.logit_adjustment import LogitAdjustment


@dataclass(frozen=True)
class _Halved(Batch):
    """A batch on its way through the strategy's loss.

    Attributes:
        focal: where the learner leaves the part that is made flat.
    """

    focal: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class FocalSAM(LogitAdjustment):
    """Step along g1 + g2, the gradients of mean (1 - k_y) l at w and of F = mean k_y l at w + rho grad F / ||grad F||.

    l: the adjusted cross-entropy of a sample, k: `shares`.
    """

    rho: Annotated[float, "> 0"] = 0.2  # length of the step uphill, in the norm of all trained parameters
    gamma: Annotated[float, ">= 0"] = 3.0  # how fast a class's share falls with its frequency; 0: all alike
    sharpness: Annotated[float, ">= 0", "<= 1"] = 0.5  # share of a class that hardly occurs; 0: plain descent

    def shares(self, site: Site) -> Tensor:
        """[C] the part k_c of a class's loss that is made flat."""
        return self.sharpness * (1 - site.class_counts / site.class_counts.sum()) ** self.gamma

    def loss(self, site: Site, batch: Batch) -> Tensor:
        logits = site.model(batch.x) + self.tau * log_prior(site.class_counts)
        if isinstance(batch, _Halved):
            losses = F.cross_entropy(logits, batch.y, reduction="none")
            batch.focal.append((self.shares(site)[batch.y] * losses).mean())
        return F.cross_entropy(logits, batch.y)

    def gradient(self, site: Site, loss: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        trained = [p for p in site.model.parameters() if p.requires_grad]
        value, focal = _halves(loss, batch)
        rest = torch.autograd.grad(value - focal, trained, retain_graph=True, materialize_grads=True)
        slopes = torch.autograd.grad(focal, trained, materialize_grads=True)

        with uphill(site.model, list(zip(trained, slopes, strict=True)), self.rho):
            _halves(loss, batch)[1].backward()  # type: ignore[no-untyped-call]
        for parameter, gradient in zip(trained, rest, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        site.trainer.passed(len(batch))
        return value


def _halves(loss: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """The strategy's loss of a batch, and the part of it that is made flat."""
    halved = _Halved(batch.x, batch.y, batch.rows)
    value = loss(halved)
    if not halved.focal:
        raise ValueError("focal_sam needs a loss that asks client.learner.loss for the batch that it was given")
    return value, torch.stack(halved.focal).sum()
