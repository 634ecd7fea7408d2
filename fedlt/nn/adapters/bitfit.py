"""BitFit: the biases of a model are trained, and its weights stay as they are.

Ben Zaken, Ravfogel, Goldberg: BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models. ACL 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedlt.nn.adapters.adapter import Adapter
from fedlt.nn.net import Net


@dataclass(frozen=True)
class BitFit(Adapter):
    """The biases alone."""

    def apply(self, net: Net) -> list[str]:
        names = [name for name, _ in net.backbone.named_parameters() if "bias" in name.rpartition(".")[2]]
        if not names:
            raise ValueError("bitfit finds no bias before the head to train")
        return names
