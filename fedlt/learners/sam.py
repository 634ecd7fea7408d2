"""Sharpness-aware minimisation: the gradient is taken where the loss nearby is highest.

Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization for Efficiently Improving Generalization. ICLR 2021,
algorithm 1 with p = 2: g(w + rho g(w) / ||g(w)||). Inside FedAvg it is FedSAM: Qu, Li, Duan, Liu, Tang, Lu: Generalized
Federated Learning via Sharpness Aware Minimization. ICML 2022. Running statistics of batch normalisation follow the
first pass only, as in the authors' later code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from fedlt.data.site import Batch, Site
from fedlt.learners.cross_entropy import CrossEntropy


@dataclass(frozen=True)
class SAM(CrossEntropy):
    """Cross-entropy, or the strategy's loss, with two forward and backward passes a step."""

    rho: Annotated[float, "> 0"] = 0.05  # length of the step uphill, in the norm of all trained parameters

    def gradient(self, site: Site, loss: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        value = super().gradient(site, loss, batch)
        uphill = [(p, p.grad) for p in site.model.parameters() if p.grad is not None]
        weights, gradients = [p.detach().clone() for p, _ in uphill], [gradient for _, gradient in uphill]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        with torch.no_grad():
            for parameter, slope in uphill:
                parameter.add_(slope * (self.rho / (norm + 1e-12)))

        with _still_statistics(site.model):
            super().gradient(site, loss, batch)
        site.trainer.work.backward_samples += len(batch)

        with torch.no_grad():
            for (parameter, _), held in zip(uphill, weights, strict=True):
                parameter.copy_(held)
        return value


@contextmanager
def _still_statistics(model: nn.Module) -> Iterator[None]:
    """For a while batch normalisation does not move its running statistics."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:  # also for the clients after one that fails here
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
