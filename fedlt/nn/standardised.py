"""A linear head that learns alike whatever the scale and the mean of its features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class StandardisedHead(nn.Module):
    """`weight z + bias` of features h, where z = (h - mean) / sqrt(variance), feature by feature.

    The curvature of a linear head's loss grows with the square of its features, and a common mean of theirs makes it
    worse conditioned; on z, one step size suits every backbone. The statistics are running ones in training as well,
    and each batch moves them before it is standardised. Batch normalisation's own statistics of a batch would take
    away what tells a client's classes apart, where it has few of them, and those of a single sample everything.

    Attributes:
        mean, square: [D] buffers, running means of h and h^2. Both are plain means, so that their average over clients
            is the mean over the samples of all (an average of variances would lack what lies between the clients). Zero
            at first; the first batch replaces them.
        momentum: share by which a batch moves them, as in PyTorch's batch normalisation.
        floor: part of the mean variance over the features that is added to the variance of each, since a feature that
            hardly ever answers would be blown up by its small deviation.
    """

    momentum: ClassVar[float] = 0.1
    floor: ClassVar[float] = 0.01

    mean: Tensor
    square: Tensor

    def __init__(self, head: nn.Linear) -> None:
        """Takes over the parameters of `head`."""
        super().__init__()
        self.weight, self.bias = head.weight, head.bias
        self.register_buffer("mean", torch.zeros(head.in_features))
        self.register_buffer("square", torch.zeros(head.in_features))

    def standardise(self, features: Tensor) -> Tensor:
        """[B, D] z of features [B, D]. In training mode the statistics take them in first."""
        if self.training:
            self._take_in(features.detach().float())
        variance = (self.square - self.mean.square()).clamp(min=0)
        variance = variance + self.floor * variance.mean()
        return (features - self.mean) / torch.where(variance > 0, variance, 1.0).sqrt()

    def forward(self, features: Tensor) -> Tensor:
        """[B, C] logits of features [B, D]."""
        return linear(self.standardise(features), self.weight, self.bias)

    @torch.no_grad()
    def _take_in(self, features: Tensor) -> None:
        share = torch.where(self.square.sum() > 0, self.momentum, 1.0)
        self.mean.lerp_(features.mean(0), share)
        self.square.lerp_(features.square().mean(0), share)
