"""What a scenario's `model` names: a recipe for a backbone, to which a linear head is added."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from torch import nn

from fedlt.nn.adapters.adapter import Adapter
from fedlt.nn.net import Net

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind
    from fedlt.data.task import Task


@dataclass(frozen=True)
class Model:
    """Base of the model recipes. Its keys are those of every model; `fedlt.nn.adapters.adapter` does what they say."""

    young: ClassVar[tuple[str, ...]] = ("freeze", "adapter", "class_vectors")

    freeze: bool | list[str] | None = field(default=None, kw_only=True)  # true, patterns; null: all beside an adapter
    adapter: Annotated[Adapter | None, "adapter"] = field(default=None, kw_only=True)  # see: fedlt ls adapters
    class_vectors: str | None = field(default=None, kw_only=True)  # file of [C, D] numbers, as of names; null: none

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        """The module from inputs [B, *input_shape] to features [B, D], and D."""
        raise NotImplementedError(f"{type(self).__name__} defines no backbone")

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        """The same, for models that need more than the shape: `inputs.vocabulary` of token ids, for example.

        For sequences, the module takes the inputs and a mask [B, L] (True: real).
        """
        return self.backbone(inputs.shape)

    def build(self, task: Task) -> Net:
        """Backbone and linear head, initialised by PyTorch's defaults from the global generator."""
        backbone, dim = self.encoder(task.inputs)
        return Net(backbone, nn.Linear(dim, task.num_classes), dim)


@dataclass(frozen=True)
class ImageModel(Model):
    """Base of the recipes for images."""

    channels_last: bool = True  # memory order of images and 4-d weights; changes the rounding, not the precision

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        if len(inputs.shape) != 3:
            name = type(self).__name__.lower()
            raise ValueError(f"{name} needs images, and the inputs are {inputs}; {inputs.remedy}")
        return super().encoder(inputs)

    def image_shape(self, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(channels, height, width); raises ValueError where the inputs are no images."""
        if len(input_shape) != 3:
            raise ValueError(f"{type(self).__name__.lower()} needs images, and the inputs have shape {input_shape}")
        channels, height, width = input_shape
        return channels, height, width
