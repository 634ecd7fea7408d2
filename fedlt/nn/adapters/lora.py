"""LoRA: linear layers get changes of low rank, which alone are trained.

Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022.

A layer's weight W becomes W + scale B A, with A [r, in] drawn and B [out, r] zero at first; W stays as it is. The
layers are those of the `peft` library. FedAvg means A and B apart, and the mean of products is not the product of
means: clients that went different ways do not come out at their average (Sun et al.: Improving LoRA in
Privacy-preserving Federated Learning. ICLR 2024). With `freeze_a` all clients keep the one A that was drawn, B alone
travels, and the mean is exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated

from torch import nn

from fedlt.nn.adapters.adapter import Adapter
from fedlt.nn.net import Net

INSTALL = "the adapter lora needs the package peft: pip install 'fedlt[adapters]'"


@dataclass(frozen=True)
class LoRA(Adapter):
    """Low-rank changes of linear layers."""

    rank: Annotated[int, ">= 1"] = 8  # r, the rank of a layer's change
    alpha: Annotated[float, "> 0"] | None = None  # the change is scaled by alpha / rank; null: twice the rank
    dropout: Annotated[float, ">= 0", "< 1"] = 0.0  # of the layer's input to A
    layers: list[str] = field(
        default_factory=list
    )  # patterns of layers, linear or convolutions; empty: all linear ones
    freeze_a: bool = False  # A stays as it was drawn: half the numbers travel, and their mean is exact

    def apply(self, net: Net) -> list[str]:
        """Put low-rank layers beside the linear ones.

        Returns:
            The names of their parameters.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ValueError(INSTALL) from error

        names = self._layers(net.backbone)
        arrived = {id(parameter): parameter.requires_grad for parameter in net.backbone.parameters()}
        alpha = 2 * self.rank if self.alpha is None else self.alpha
        pattern = "|".join(re.escape(name) for name in names)
        config = LoraConfig(r=self.rank, lora_alpha=alpha, lora_dropout=self.dropout, target_modules=pattern)  # type: ignore[arg-type]
        inject_adapter_in_model(config, net.backbone)

        # In evaluation mode PyTorch's own transformer layers hand the weights of their linear layers to one fused
        # operation, which would pass the adapters by. This attribute is what tells them that they cannot.
        for module in net.backbone.modules():
            if isinstance(module, nn.TransformerEncoderLayer):
                module.activation_relu_or_gelu = 0

        trained = []
        for name, parameter in net.backbone.named_parameters():
            added = id(parameter) not in arrived  # the library freezes all others, which is for `model.freeze` to say
            wanted = added and not (self.freeze_a and "lora_A" in name.split("."))
            parameter.requires_grad_(wanted or arrived.get(id(parameter), False))
            trained += [name] * wanted
        return trained

    def remarks(self) -> Iterator[str]:
        if not self.freeze_a:
            yield "lora: A and B are averaged apart, which is not the mean of their products; freeze_a=true is exact"

    def _layers(self, backbone: nn.Module) -> list[str]:
        """The names of the layers that get a change."""
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d) if self.layers else (nn.Linear,)
        fitting = [name for name, part in backbone.named_modules() if type(part) in kinds and name]
        if not self.layers:
            if not fitting:
                remedy = "name convolutions, as layers: ['*conv*'] does, or take another adapter"
                raise ValueError(f"lora finds no linear layer before the head; {remedy}")
            return fitting

        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in fitting):
                known = ", ".join(fitting[:12]) or "none (layers derived from them are left alone)"
                raise ValueError(f"lora: {pattern!r} matches no linear layer or convolution; there are: {known}")
        return [name for name in fitting if any(fnmatchcase(name, pattern) for pattern in self.layers)]
