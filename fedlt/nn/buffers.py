"""A model's buffers in its flat vector of float32, whatever they hold, and whatever code does to them.

Floats are views of the vector. Others travel, are averaged, are reset between clients and are saved by this rule:

    whole numbers   as the difference from what they were when the model was built; the mean is rounded to the nearest
    truth values    as 0 and 1; the mean is true from one half on
    complex numbers as their real and imaginary parts

Tables of positions or indices never change, so their difference is zero and they stay exact, however large. The counter
of a batch normalisation with a number as `momentum` decides nothing and is left out; without one it is a whole number
like others.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

EXACT = 2**24
"""The largest change of a whole number that float32 holds exactly."""

Place = tuple[nn.Module, str]
"""A module and the buffer's name in it."""


class Held:
    """One buffer. tensor: what stands in the model.

    Attributes:
        places: where; a buffer that modules share has several.
        length: numbers that it takes in the vector.
        coded: whether it is no view of the vector, but lies beside it.
    """

    def __init__(self, name: str, buffer: Tensor, places: list[Place]) -> None:
        self.name, self.tensor, self.places = name, buffer.detach(), places
        self.coded = not buffer.is_floating_point()
        self.length = buffer.numel() * (2 if buffer.is_complex() else 1)
        self._first = self.tensor.clone()

    def settle_into(self, part: Tensor) -> Tensor:
        """Take a part of the vector: of the buffer's shape for floats, [length] for others. The tensor to be held."""
        if self.coded:
            self._part = part
        else:
            part.copy_(self.tensor)
            self.tensor = part.data  # .data: with a version counter of its own (see backbone_version)
        for module, attribute in self.places:
            module._buffers[attribute] = self.tensor
        self.settle()
        return self.tensor

    def settle(self) -> None:
        """Bring the vector up to the model: another tensor that was put into the buffer's place is copied."""
        for module, attribute in self.places:
            present = module._buffers.get(attribute)
            if present is not self.tensor:
                self._take(present)
                module._buffers[attribute] = self.tensor
        if self.coded:
            self._part.copy_(self._encode())

    def load(self) -> None:
        """Make the model's buffer what the vector says."""
        for module, attribute in self.places:
            module._buffers[attribute] = self.tensor
        if self.coded:
            self.tensor.copy_(self._decode())

    def reset(self) -> None:
        """Make it what it was when the model was built."""
        for module, attribute in self.places:
            module._buffers[attribute] = self.tensor
        self.tensor.copy_(self._first)
        self.settle()

    def _take(self, present: Tensor | None) -> None:
        """Take over what the module's buffer is now.

        Raises:
            ValueError: where it has become None, or has another shape.
        """
        if present is None or present.shape != self.tensor.shape:
            found = "None" if present is None else f"of shape {tuple(present.shape)}"
            was = tuple(self.tensor.shape)
            raise ValueError(f"the buffer {self.name} became {found}, and was of shape {was}; buffers keep their shape")
        self.tensor.copy_(present.detach())

    def _encode(self) -> Tensor:
        """[length] float32."""
        if self.tensor.is_complex():
            return torch.view_as_real(self.tensor.resolve_conj()).reshape(-1).float()
        if self.tensor.dtype == torch.bool:
            return self.tensor.reshape(-1).float()
        change = self.tensor.long().reshape(-1) - self._first.long().reshape(-1)
        if change.numel() and int(change.abs().max()) > EXACT:
            message = f"the buffer {self.name} ({_kind(self.tensor)}) moved by more than {EXACT}, and would be rounded"
            raise ValueError(f"{message}; keep such numbers in client.state, or as floats")
        return change.float()

    def _decode(self) -> Tensor:
        """The buffer's values, of its shape."""
        shape = self.tensor.shape
        if self.tensor.is_complex():
            return torch.view_as_complex(self._part.clone().reshape(*shape, 2))
        if self.tensor.dtype == torch.bool:
            return (self._part >= 0.5).reshape(shape)
        limits = torch.iinfo(self.tensor.dtype)
        change = self._part.round().long().reshape(shape)
        return (self._first.long() + change).clamp(limits.min, limits.max)


def held_buffers(model: nn.Module) -> Iterator[Held]:
    """The buffers that decide anything, in the order of the model."""
    places: dict[int, list[Place]] = {}
    for module in model.modules():
        for attribute, buffer in module._buffers.items():
            if buffer is not None and not _idle(module, attribute):
                places.setdefault(id(buffer), []).append((module, attribute))
    for name, buffer in model.named_buffers():
        if id(buffer) in places:
            yield Held(name, buffer, places[id(buffer)])


def _idle(module: nn.Module, attribute: str) -> bool:
    """Whether it is a counter of batches that nothing depends on."""
    return isinstance(module, _NormBase) and attribute == "num_batches_tracked" and module.momentum is not None


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
