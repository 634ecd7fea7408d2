"""A small transformer over the patches of an image, as a file of one's own: `model=./net.py:Patches`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedlt.nn.model import ImageModel


class Encoder(nn.Module):
    """Patches become vectors, a position is added to each, and the mean over all of them is the feature."""

    def __init__(self, channels: int, positions: int, patch: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(positions, width))
        block = {"dim_feedforward": 2 * width, "dropout": 0.0, "batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(width, heads, **block) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens).mean(1)


@dataclass(frozen=True)
class Patches(ImageModel):
    """Two encoder layers over patches of 2 x 2 pixels."""

    patch: int = 2  # pixels of a side
    width: int = 32  # of a token
    heads: int = 4  # of the attention
    layers: int = 2

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        channels, height, width = self.image_shape(input_shape)
        positions = (height // self.patch) * (width // self.patch)
        return Encoder(channels, positions, self.patch, self.width, self.heads, self.layers), self.width
