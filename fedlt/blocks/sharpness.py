"""A step uphill and back, for methods that take a gradient at the highest loss nearby.

Foret, Kleiner, Mobahi, Neyshabur: Sharpness-Aware Minimization for Efficiently Improving Generalization. ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fedlt.nn.norm import still_statistics


@contextmanager
def uphill(model: nn.Module, slopes: Sequence[tuple[Tensor, Tensor]], rho: float) -> Iterator[None]:
    """For a while the weights are w + rho g / ||g||, and batch normalisation does not move its running statistics.

    Args:
        slopes: parameters and their gradients g, whose norm is that of all together; no gradient, no step.
    """
    weights = [parameter.detach().clone() for parameter, _ in slopes]
    norm = torch.stack(torch._foreach_norm([slope for _, slope in slopes])).norm()
    with torch.no_grad():
        for parameter, slope in slopes:
            parameter.add_(slope * (rho / (norm + 1e-12)))

    try:
        with still_statistics(model):
            yield
    finally:  # also for the clients after one that fails here
        with torch.no_grad():
            for (parameter, _), held in zip(slopes, weights, strict=True):
                parameter.copy_(held)
