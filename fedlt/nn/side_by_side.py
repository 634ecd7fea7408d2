"""Whole models side by side in one: M copies of a backbone that share nothing, their features next to each other."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fedlt.nn.net import Net, passed

BACKBONE, MODELS = "backbone.", "models."
"""What names of a backbone's tensors begin with, and what the name of the model by its number follows."""


class SideBySide(nn.Module):
    """[B, ...] inputs to [B, M * D] features of M models, each of which reads the inputs' mask where it can."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.cat([passed(model, x, mask) for model in self.models], dim=1)


def put_side_by_side(model: Net, count: int) -> None:
    """Turn the backbone into `count` whole ones, and leave the head to the caller.

    The first is the backbone as it was; what is trained of the others is drawn anew, what is frozen stays as it was.
    """
    backbones = [model.backbone, *(copy.deepcopy(model.backbone) for _ in range(count - 1))]
    for backbone in backbones[1:]:
        for module in backbone.modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None and all(each.requires_grad for each in module.parameters(recurse=False)):
                reset()
    model.backbone = SideBySide(backbones)
    model.feature_dim *= count


def placed(given: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of several models in one, by the names that they have side by side.

    Args:
        given: of each model by name, as `backbone.1.weight`, or as a module outside calls its own.
    """
    found = {}
    for number, tensors in enumerate(given):
        for name, tensor in tensors.items():
            begins = BACKBONE if name.startswith(BACKBONE) else ""
            found[f"{begins}{MODELS}{number}.{name.removeprefix(begins)}"] = tensor
    return found


def alone(name: str) -> str:
    """What a tensor of one of the models is called in a model by itself: `backbone.models.2.conv.bias` is
    `backbone.conv.bias`.
    """
    return re.sub(rf"^{re.escape(BACKBONE + MODELS)}\d+\.", BACKBONE, name)
