"""The convolutional network of the FedAvg paper (McMahan et al., AISTATS 2017): 1,663,370 parameters on MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from fedlt.nn.model import ImageModel


@dataclass(frozen=True)
class CNN(ImageModel):
    """Two 5 x 5 convolutions with pooling, then one hidden layer."""

    width: Annotated[int, ">= 1"] = 32  # channels of the first convolution; the second has twice as many
    hidden: Annotated[int, ">= 1"] = 512  # units of the hidden layer, and the feature dimension

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Two convolutions, each rectified and pooled, and one linear layer."""
        channels, height, width = self.image_shape(input_shape)
        if min(height, width) < 4:
            raise ValueError(f"cnn needs images of at least 4 x 4 pixels, got {height} x {width}; use model=mlp")
        flat = 2 * self.width * (height // 4) * (width // 4)
        # Rectifying after pooling has the bits of the paper's order, gradients included, and a quarter of the work.
        layers = [
            nn.Conv2d(channels, self.width, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, self.hidden),
            nn.ReLU(),
        ]

        return nn.Sequential(*layers), self.hidden
