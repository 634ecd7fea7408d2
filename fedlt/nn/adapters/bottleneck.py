"""Houlsby et al.: Parameter-Efficient Transfer Learning for NLP.

ICML 2019. Two layers with a narrow middle and a way around them; here once, on the features. The second layer is zero
at first, so that the model starts as it arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from fedlt.nn.adapters.adapter import Adapter
from fedlt.nn.net import Net, reads_mask


class Around(nn.Module):
    """`features + up(relu(down(features)))` of an encoder's features [..., D]."""

    def __init__(self, encoder: nn.Module, features: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.down, self.up = nn.Linear(features, width), nn.Linear(width, features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self._masked = reads_mask(type(encoder).forward)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        found = self.encoder(x, mask) if self._masked and mask is not None else self.encoder(x)
        return found + self.up(self.down(found).relu())  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Bottleneck(Adapter):
    """Two layers on the features, with a way around them."""

    width: Annotated[int, ">= 1"] = 64  # units in the middle

    def apply(self, net: Net) -> list[str]:
        if net.no_head:
            raise ValueError(f"the adapter mlp works on features: {net.no_head}")
        net.backbone = Around(net.backbone, net.feature_dim, self.width)
        return [name for name, _ in net.backbone.named_parameters() if name.startswith(("down.", "up."))]
