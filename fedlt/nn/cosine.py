"""A linear head on the unit sphere: neither the norm of a feature nor that of a class's weights can favour a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CosineHead(nn.Module):
    """[B, D] features to [B, C] logits: scale times the cosine with each class's weights, which start at norm 1."""

    def __init__(self, dim: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(F.normalize(torch.randn(classes, dim)))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(features), F.normalize(self.weight))
