"""EfficientNet-Lite0 with the weights that it learnt on ImageNet, 1,280 features (Apache-2.0, a package of 17 MB)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedlt.encoders.encoder import Encode, Encoder


@dataclass(frozen=True)
class EfficientNetLite0(Encoder):
    """EfficientNet-Lite0, trained on ImageNet: 1,280 features a picture."""

    def build(self) -> Encode:
        from fedlt.nn.efficientnet_lite0 import folded, pretrained, scaled

        network = folded(pretrained(self.size))
        return lambda x: network(scaled(x))

    def weights(self) -> tuple[Path, ...]:
        from fedlt.nn.efficientnet_lite0 import weights_file

        return (weights_file(),)
