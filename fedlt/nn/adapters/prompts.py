"""Jia et al.: Visual Prompt Tuning.

ECCV 2022 (the shallow form). Learnt tokens join the sequence that a transformer's layers read, behind its first token,
and leave it again behind the last layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fedlt.nn.adapters.adapter import Adapter
from fedlt.nn.net import Net

USUAL = ("blocks", "encoder.layers", "encoder.layer", "layers")
"""Names that libraries give the list of a transformer's layers."""


class Entering(nn.Module):
    """The first layer, which reads further tokens.

    Attributes:
        prompts: [P, D], learnt.
    """

    def __init__(self, layer: nn.Module, tokens: int, features: int) -> None:
        super().__init__()
        self.layer = layer
        bound = math.sqrt(6 / features)
        self.prompts = nn.Parameter(torch.empty(tokens, features).uniform_(-bound, bound))

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Any:
        prompts = self.prompts.expand(len(x), -1, -1)
        return self.layer(torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1), *others, **named)


class Leaving(nn.Module):
    """The last layer, whose output is given without the further tokens."""

    def __init__(self, layer: nn.Module, tokens: int) -> None:
        super().__init__()
        self.layer, self.tokens = layer, tokens

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Any:
        found = self.layer(x, *others, **named)
        if isinstance(found, tuple):
            return (self._without(found[0]), *found[1:])
        return self._without(found)

    def _without(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], x[:, 1 + self.tokens :]], dim=1)


@dataclass(frozen=True)
class Prompts(Adapter):
    """Learnt tokens behind the first one of a transformer."""

    tokens: Annotated[int, ">= 1"] = 10  # how many
    at: str | None = None  # name of the list of the transformer's layers; null: found by its usual names

    def apply(self, net: Net) -> list[str]:
        """Put prompts before the first layer's inputs, and take them away after the last one.

        Returns:
            The name of the prompts' parameter.
        """
        layers = self._layers(net.backbone)
        entering = Entering(layers[0], self.tokens, _width(net, layers[0]))  # type: ignore[arg-type]
        layers[0] = entering
        layers[-1] = Leaving(layers[-1], self.tokens)  # type: ignore[arg-type]
        return [name for name, given in net.backbone.named_parameters() if given is entering.prompts]

    def _layers(self, backbone: nn.Module) -> nn.ModuleList | nn.Sequential:
        """The list of layers.

        Raises:
            ValueError: where there is none of that name.
        """
        lists = {
            name: part for name, part in backbone.named_modules() if isinstance(part, nn.ModuleList | nn.Sequential)
        }
        usual = [name for name in lists for end in USUAL if name == end or name.endswith(f".{end}")]
        name = self.at or next(iter(sorted(usual, key=len)), "")
        if not name or not len(lists.get(name, ())):
            known = ", ".join(filter(None, lists)) or "none"
            what = f"no list of layers {name!r}" if name else "no layers of a transformer by their usual names"
            raise ValueError(
                f"vpt finds {what}; set model.adapter.at to the list of layers that read [B, tokens, D]: {known}"
            )
        return lists[name]


def _width(net: Net, layer: nn.Module) -> int:
    """The length D of the tokens [B, T, D] that the layer reads, seen in one pass."""
    assert net.inputs is not None
    seen: list[Any] = []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0] if given else None))
    training = net.training
    with torch.no_grad():
        net.eval()(net.inputs.example(1))
    net.train(training)
    handle.remove()

    if len(seen) != 1 or not isinstance(seen[0], Tensor) or seen[0].ndim != 3:
        raise ValueError("vpt: the first of the layers does not read tokens [B, T, D]; name others by model.adapter.at")
    return int(seen[0].shape[-1])
