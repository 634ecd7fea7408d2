"""What a scenario's `model` names: a recipe for a backbone, to which a linear head is added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from fedlt.nn.net import Net

if TYPE_CHECKING:
    from fedlt.data.task import Task


@dataclass(frozen=True)
class Model:
    """Base of the model recipes."""

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        """The module from inputs [B, *input_shape] to features [B, D], and D."""
        raise NotImplementedError(f"{type(self).__name__} defines no backbone")

    def build(self, task: Task) -> Net:
        """Backbone and linear head, initialised by PyTorch's defaults from the global generator."""
        backbone, dim = self.backbone(task.input_shape)
        return Net(backbone, nn.Linear(dim, task.num_classes), dim)


@dataclass(frozen=True)
class ImageModel(Model):
    """Base of the recipes for images."""

    channels_last: bool = True  # memory order of images and 4-d weights; changes the rounding, not the precision

    def image_shape(self, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(channels, height, width); raises ValueError with the remedy where the inputs are no images."""
        if len(input_shape) != 3:
            name = type(self).__name__.lower()
            raise ValueError(f"{name} needs images, and the inputs have shape {input_shape}; use model=mlp")
        channels, height, width = input_shape
        return channels, height, width
