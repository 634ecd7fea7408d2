"""The model of the study: a small convolutional network with batch normalisation, which FedBN needs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fedlt.nn.model import ImageModel

DIM = 64  # D, its features


@dataclass(frozen=True)
class NormedCNN(ImageModel):
    """Two 3 x 3 convolutions, each normalised and pooled, then one hidden layer."""

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        channels, height, width = self.image_shape(input_shape)
        return encoder(channels, height, width), DIM


def encoder(channels: int, height: int, width: int) -> nn.Sequential:
    """The module from images [B, channels, height, width] to features [B, DIM]."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), DIM),
        nn.ReLU(),
    )
