"""Three cosine heads on the same features: for frequent classes, for rare ones, and the balanced one between."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD, TAIL, BALANCED = 0, 1, 2


class HeadTailHeads(nn.Module):
    """As a head of the model it gives the logits [B, C] of the balanced one.

    A logit is scale <f, w_c / (||w_c|| + soft)>, where f is the feature divided by its norm, and moved along the unit
    vector d of the mean feature: by -<f, d> d for the head's, by tail <f, d> d for the tail's, not at all for the
    balanced one's.

    Args:
        dim: D of the features.
        classes: C.
        scale: of the cosines.
        soft: added to the norm of a class's row.
        tail: how far the tail's head is moved.
        momentum: of the mean feature.

    Attributes:
        weight: [3, C, D].
        direction: [D] moving average of the features, of any length; a buffer, so that sites agree.
    """

    direction: Tensor

    def __init__(self, dim: int, classes: int, scale: float, soft: float, tail: float, momentum: float) -> None:
        super().__init__()
        self.scale, self.soft, self.momentum = scale, soft, momentum
        self.moved = (-1.0, tail, 0.0)
        self.weight = nn.Parameter(F.normalize(torch.randn(3, classes, dim), dim=2))
        self.register_buffer("direction", torch.zeros(dim))

    @torch.no_grad()
    def follow(self, features: Tensor) -> None:
        """Move the direction towards the mean of these features [B, D]."""
        self.direction.mul_(self.momentum).add_(features.mean(0).to(self.direction.dtype), alpha=1 - self.momentum)

    def of(self, which: int, features: Tensor) -> Tensor:
        """[B, C] logits of `HEAD`, `TAIL` or `BALANCED`, given features [B, D]."""
        weight = self.weight[which]
        seen = F.normalize(features)
        if self.moved[which]:
            towards = F.normalize(self.direction, dim=0)
            seen = seen + self.moved[which] * (seen @ towards)[:, None] * towards
        return self.scale * F.linear(seen, weight / (weight.norm(dim=1, keepdim=True) + self.soft))

    def forward(self, features: Tensor) -> Tensor:
        return self.of(BALANCED, features)


def heads_of(model: nn.Module) -> HeadTailHeads:
    """The heads of a model that has them as its head."""
    assert isinstance(model.head, HeadTailHeads)
    return model.head
