"""Multi-layer perceptron, for inputs that are numbers, of any shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from torch import nn

from fedlt.nn.model import Model

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind


@dataclass(frozen=True)
class MLP(Model):
    """Fully connected layers with ReLU."""

    width: Annotated[int, ">= 1"] = 200  # units of each hidden layer, and the feature dimension
    depth: Annotated[int, ">= 0"] = 2  # hidden layers; 0: the inputs are the features, and the head is all there is

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        inputs.require("numbers")
        return super().encoder(inputs)

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        """Linear layers, each rectified, over the flattened inputs."""
        layers: list[nn.Module] = [nn.Flatten()]
        sizes = [math.prod(input_shape), *[self.width] * self.depth]
        for into, out in pairwise(sizes):
            layers += [nn.Linear(into, out), nn.ReLU()]
        return nn.Sequential(*layers), sizes[-1]
