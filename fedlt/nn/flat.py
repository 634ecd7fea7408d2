"""A model's tensors as flat vectors: parameters travel, add up and are reset as one vector, not one by one.

The model's parameters and floating-point buffers become views into one storage, ordered shared | private | frozen,
so that loading a model is one copy and reading it is none. Other buffers have their place in it too: see
`fedlt.nn.buffers`. What arrives with `requires_grad=False` is frozen, whatever the strategy says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fedlt.nn.buffers import held_buffers
from fedlt.nn.net import edits
from fedlt.nn.norm import expanded

if TYPE_CHECKING:
    from fedlt.nn.net import Net


class Flat:
    """The layout of a model, known to server and workers alike because both derive it from the same model.

    Attributes:
        private, frozen: patterns of tensor names (`head.*`).
        memory_format: order in which 4-d weights lie in memory (and so in the vector).
        given_frozen: names of what arrived frozen.
        still: the modules that stay in evaluation mode, since all of their parameters arrived so.
    """

    def __init__(
        self,
        model: Net,
        private: Sequence[str] = (),
        frozen: Sequence[str] = (),
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.model = model
        parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            _expect_float(name, parameter)

        buffers = {buffer.name: buffer for buffer in held_buffers(model)}
        tensors = {**parameters, **{name: buffer.tensor for name, buffer in buffers.items()}}
        private = expanded(model, private, tensors)
        _expect_matches(private, tensors, "private")
        _expect_matches(frozen, tensors, "frozen")

        # What arrived frozen stays so: parameters, and the buffers of modules of which no parameter is trained.
        self.still = _still(model)
        as_given = {name for name, parameter in parameters.items() if not parameter.requires_grad}
        inside = {id(part) for module in self.still for part in module.modules()}
        as_given |= {name for name, buffer in buffers.items() if id(buffer.places[0][0]) in inside}
        self.given_frozen = tuple(name for name in tensors if name in as_given and not _matches(name, frozen))

        # The three parts of the vector: what is sent, what clients keep, and what is equal everywhere.
        fixed = [n for n in tensors if _matches(n, frozen) or n in as_given]
        own = [n for n in tensors if _matches(n, private) and n not in fixed]
        if private and not own:
            raise ValueError("all that clients would keep is frozen (model.freeze, or requires_grad=False)")
        sent = [n for n in tensors if n not in own and n not in fixed]
        sent.sort(key=lambda name: name not in parameters)  # parameters first; sort() keeps the order otherwise

        # One vector for all, of which every tensor becomes a view.
        lengths = {n: buffers[n].length if n in buffers else t.numel() for n, t in tensors.items()}
        sizes = [sum(lengths[n] for n in group) for group in (sent, own, fixed)]
        some = next(iter(tensors.values()))
        self._storage = torch.empty(sum(sizes), dtype=torch.float32, device=some.device)
        self._shared, self._private, self._frozen = self._storage.split(sizes)
        self.num_trainable = sum(tensors[n].numel() for n in sent if n in parameters)

        self.tensors: dict[str, Tensor] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._interleaved = memory_format == torch.channels_last
        offset = 0
        for name in [*sent, *own, *fixed]:
            part = slice(offset, offset + lengths[name])

            if name in parameters:
                view = self._view(self._storage, offset, tensors[name].shape)
                view.copy_(tensors[name].detach())
                parameters[name].data = view
            else:
                shape = torch.Size((lengths[name],)) if buffers[name].coded else tensors[name].shape
                view = buffers[name].settle_into(self._view(self._storage, offset, shape))

            self.tensors[name] = view
            self._spans[name] = part.start, part.stop
            offset = part.stop

        self.trainable = {n: p for n, p in model.named_parameters() if n not in fixed}
        for name in fixed:
            if name in parameters:
                model.get_parameter(name).requires_grad_(False)

        self._shared_parameters = {n: model.get_parameter(n) for n in sent if n in parameters}
        self._buffers = tuple([buffers[n] for n in group if n in buffers] for group in (sent, own, fixed))
        self._parameters = [(n, *_place(model, n), p, p.data_ptr()) for n, p in parameters.items()]
        self.private_backbone = any(n.startswith("backbone.") for n in own)
        self._steps = 0

    @property
    def storage(self) -> Tensor:
        """[S + Q + F] all tensors, as they are now."""
        self.settle()
        return self._storage

    @property
    def shared(self) -> Tensor:
        """[S] what travels, as it is now: trainable parameters, then buffers."""
        self.settle()
        return self._shared

    @property
    def private(self) -> Tensor:
        """[Q] what a client keeps, as it is now."""
        self.settle()
        return self._private

    @property
    def frozen(self) -> Tensor:
        """[F] what is equal everywhere and stays as it is."""
        self.settle()
        return self._frozen

    def settle(self) -> None:
        """Bring the vectors up to the model's buffers, some of which lie elsewhere, or were given another tensor.

        Raises:
            ValueError: for a parameter that was given other memory: steps of SGD would not have reached it.
        """
        for name, module, attribute, parameter, address in self._parameters:
            if parameter.data_ptr() != address or module._parameters.get(attribute) is not parameter:
                message = f"the parameter {name} was replaced in training (`.data = ...`, or another Parameter)"
                raise ValueError(f"{message}; edit it in place: `with torch.no_grad(): parameter.copy_(...)`")
        for group in self._buffers:
            for held in group:
                held.settle()

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """[S + Q + F] cut into views with the names and shapes of the model's tensors that are views of `storage`."""
        coded = {held.name for group in self._buffers for held in group if held.coded}
        tensors = {name: tensor for name, tensor in self.tensors.items() if name not in coded}
        return {name: self._view(vector, self._spans[name][0], held.shape) for name, held in tensors.items()}

    def segments(self, names: Sequence[str]) -> list[slice]:
        """The parts of `storage` that these tensors take, neighbours joined."""
        parts: list[list[int]] = []
        for start, stop in sorted(self._spans[name] for name in names):
            if parts and parts[-1][1] == start:
                parts[-1][1] = stop
            else:
                parts.append([start, stop])
        return [slice(start, stop) for start, stop in parts]

    def is_private(self, name: str) -> bool:
        """Whether clients keep the tensor of that name to themselves."""
        start, stop = self._spans[name]
        return len(self._shared) <= start and stop <= len(self._shared) + len(self._private)

    def stepped(self, backbone: bool = True) -> None:
        """Say that weights were edited through `storage`, which the tensors' own version counters do not show."""
        self._steps += 1
        self.model.backbone_loads += backbone

    def load_shared(self, vector: Tensor) -> None:
        """Copy [S] into the model, whose frozen buffers become what they were at first."""
        self._shared.copy_(vector, non_blocking=True)
        self._restore(0)
        for held in self._buffers[2]:
            held.reset()
        self.stepped()

    def load_private(self, vector: Tensor) -> None:
        """Copy [Q] into the model."""
        self._private.copy_(vector, non_blocking=True)
        self._restore(1)
        self.model.backbone_loads += self.private_backbone

    def recover(self, frozen: Tensor) -> None:
        """Copy [F] into the model after code that was interrupted; what it put in place of other tensors is dropped."""
        self._frozen.copy_(frozen)
        for group in range(3):
            self._restore(group)
        self.stepped()

    def load(self, vector: Tensor) -> None:
        """Copy [S + Q + F] into the model."""
        self._storage.copy_(vector)
        for group in range(3):
            self._restore(group)
        self.stepped()

    def _restore(self, group: int) -> None:
        """Put the vector's own tensors into the model again, wherever others took their place."""
        for name, module, attribute, parameter, address in self._parameters:
            if parameter.data_ptr() != address:
                parameter.data = self.tensors[name]
            module._parameters[attribute] = parameter
        for held in self._buffers[group]:
            held.load()

    def edits(self) -> int:
        """Changes whenever a tensor of the model is edited in place, other than by `load_private`."""
        self.settle()
        return edits(self.model) + self._steps

    def weights(self) -> Tensor:
        """[T] the shared trainable weights; gradients with respect to it reach the model's parameters."""
        return _Gather.apply(self, *self._shared_parameters.values())  # type: ignore[no-any-return,no-untyped-call]

    def shared_parameters(self) -> dict[str, Tensor]:
        """The shared trainable parameters by name, in the order of `weights()`."""
        return dict(self._shared_parameters)

    def trainable_views(self, vector: Tensor) -> dict[str, Tensor]:
        """[T] or [S] cut into views with the names and shapes of the shared trainable parameters."""
        spans = ((name, self._spans[name][0], p.shape) for name, p in self._shared_parameters.items())
        return {name: self._view(vector, start, shape) for name, start, shape in spans}

    def _view(self, vector: Tensor, offset: int, shape: torch.Size) -> Tensor:
        """A tensor as a view of its part of the vector.

        Args:
            offset: where it begins.
        """
        part = vector[offset : offset + shape.numel()]
        if self._interleaved and len(shape) == 4:
            out, into, height, width = shape
            return part.view(out, height, width, into).permute(0, 3, 1, 2)
        return part.view(shape)


class _Gather(torch.autograd.Function):
    """Identity from a model's shared parameters to their flat vector; one copy forward, views backward."""

    @staticmethod
    def forward(ctx: Any, flat: Flat, *parameters: Tensor) -> Tensor:
        ctx.flat = flat
        return flat._shared[: flat.num_trainable].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.flat.trainable_views(gradients[0]).values()


def is_finite(tensor: Tensor) -> bool:
    """One pass over the tensor; a finite sum has finite terms, and only another sum needs the closer look.

    A GPU is waited for, unless the tensor is empty.
    """
    return not tensor.numel() or math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all())


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _expect_matches(patterns: Sequence[str], tensors: dict[str, Any], what: str) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in tensors):
            raise ValueError(f"the {what} pattern {pattern!r} matches no tensor of the model: {', '.join(tensors)}")


def _place(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the tensor of that name, and its name there."""
    module, _, attribute = name.rpartition(".")
    return model.get_submodule(module), attribute


def _expect_float(name: str, parameter: Tensor) -> None:
    if not parameter.is_floating_point():
        kind = str(parameter.dtype).removeprefix("torch.")
        raise ValueError(f"the parameter {name} holds {kind}, and only real floats are trained; make it a buffer")


def _still(model: nn.Module) -> tuple[nn.Module, ...]:
    """The largest parts of the model all of whose parameters arrive frozen: they are not put into training mode."""
    found: list[nn.Module] = []

    def look(module: nn.Module) -> None:
        """Note the largest modules that have parameters, none of which is trained."""
        given = list(module.parameters())
        if given and not any(parameter.requires_grad for parameter in given):
            found.append(module)
        else:
            for child in module.children():
                look(child)

    look(model)
    return tuple(found)
