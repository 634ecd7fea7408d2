"""A linear head whose logits are scaled, each class's by a number of its own that can be learnt by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScaledHead(nn.Module):
    """[B, D] features to [B, C] logits: scale_c (w_c h + b_c), with the weights of a linear head and scales of one.

    Weight and bias keep their names, so that weights of plain models fit (`init_from`).
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = head.weight, head.bias
        self.scale = nn.Parameter(torch.ones(head.out_features))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.linear(features, self.weight, self.bias)
