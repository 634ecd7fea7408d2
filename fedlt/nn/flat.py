"""A model's tensors as flat vectors: parameters travel, add up and are reset as one vector, not one by one.

The model's parameters and floating-point buffers become views into one storage, ordered shared | private | frozen,
so that loading a model is one copy and reading it is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fedlt.nn.net import edits

if TYPE_CHECKING:
    from fedlt.nn.net import Net


class Flat:
    """The layout of a model, known to server and workers alike because both derive it from the same model.

    private, frozen: patterns of tensor names (`head.*`). shared: [S] trainable parameters first (T of them), then
    buffers. channels_last: whether 4-d weights lie in that order in memory (and so in the vector).
    """

    def __init__(
        self, model: Net, private: Sequence[str] = (), frozen: Sequence[str] = (), channels_last: bool = False
    ) -> None:
        self.model = model
        parameters = dict(model.named_parameters())
        tensors = {**parameters, **{n: b for n, b in model.named_buffers() if b.is_floating_point()}}
        _expect_matches(private, tensors, "private")
        _expect_matches(frozen, tensors, "frozen")
        kept = [n for n in tensors if _matches(n, frozen)]
        own = [n for n in tensors if _matches(n, private) and n not in kept]
        sent = [n for n in tensors if n not in own and n not in kept]
        sent.sort(key=lambda name: name not in parameters)  # parameters first; sort() keeps the order otherwise
        sizes = [sum(tensors[n].numel() for n in group) for group in (sent, own, kept)]
        some = next(iter(tensors.values()))
        self.storage = torch.empty(sum(sizes), dtype=torch.float32, device=some.device)
        self.shared, self.private, self.frozen = self.storage.split(sizes)
        self.num_trainable = sum(tensors[n].numel() for n in sent if n in parameters)
        self.tensors: dict[str, Tensor] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._channels_last = channels_last
        offset = 0
        for name in [*sent, *own, *kept]:
            view = self._view(self.storage, offset, tensors[name].shape)
            view.copy_(tensors[name].detach())
            _rebind(model, name, view)
            self.tensors[name] = view
            self._spans[name] = (offset, offset + view.numel())
            offset += view.numel()
        self.trainable = {n: p for n, p in model.named_parameters() if n not in kept}
        for name in kept:
            if name in parameters:
                model.get_parameter(name).requires_grad_(False)
        self._shared_parameters = {n: model.get_parameter(n) for n in sent if n in parameters}
        self.private_backbone = any(n.startswith("backbone.") for n in own)
        self._steps = 0

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """[S + Q + F] cut into views with the names and shapes of the model's tensors."""
        return {name: self._view(vector, self._spans[name][0], held.shape) for name, held in self.tensors.items()}

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
        return len(self.shared) <= start and stop <= len(self.shared) + len(self.private)

    def stepped(self, backbone: bool = True) -> None:
        """Say that weights were edited through `storage`, which the tensors' own version counters do not show."""
        self._steps += 1
        self.model.backbone_loads += backbone

    def load_shared(self, vector: Tensor) -> None:
        """Copy [S] into the model."""
        self.shared.copy_(vector, non_blocking=True)
        self.stepped()

    def load_private(self, vector: Tensor) -> None:
        """Copy [Q] into the model."""
        self.private.copy_(vector, non_blocking=True)
        self.model.backbone_loads += self.private_backbone

    def edits(self) -> int:
        """Changes whenever a tensor of the model is edited in place, other than by `load_private`."""
        return edits(self.model) + self._steps

    def weights(self) -> Tensor:
        """[T] the shared trainable weights; gradients with respect to it reach the model's parameters."""
        return _Gather.apply(self, *self._shared_parameters.values())  # type: ignore[no-any-return,no-untyped-call]

    @property
    def shared_names(self) -> tuple[str, ...]:
        """The shared trainable parameters."""
        return tuple(self._shared_parameters)

    def names_beside(self, *patterns: str) -> tuple[str, ...]:
        """The trainable parameters that no pattern matches."""
        return tuple(name for name in self.trainable if not _matches(name, patterns))

    def trainable_views(self, vector: Tensor) -> dict[str, Tensor]:
        """[T] or [S] cut into views with the names and shapes of the shared trainable parameters."""
        spans = ((name, self._spans[name][0], p.shape) for name, p in self._shared_parameters.items())
        return {name: self._view(vector, start, shape) for name, start, shape in spans}

    def _view(self, vector: Tensor, offset: int, shape: torch.Size) -> Tensor:
        part = vector[offset : offset + shape.numel()]
        if self._channels_last and len(shape) == 4:
            out, into, height, width = shape
            return part.view(out, height, width, into).permute(0, 3, 1, 2)
        return part.view(shape)


class _Gather(torch.autograd.Function):
    """Identity from a model's shared parameters to their flat vector; one copy forward, views backward."""

    @staticmethod
    def forward(ctx: Any, flat: Flat, *parameters: Tensor) -> Tensor:
        ctx.flat = flat
        return flat.shared[: flat.num_trainable].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.flat.trainable_views(gradients[0]).values()


def is_finite(tensor: Tensor) -> bool:
    """One pass over the tensor; a finite sum has finite terms, and only another sum needs the closer look."""
    return math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all())


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _expect_matches(patterns: Sequence[str], tensors: dict[str, Any], what: str) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in tensors):
            raise ValueError(f"the {what} pattern {pattern!r} matches no tensor of the model: {', '.join(tensors)}")


def _rebind(model: nn.Module, name: str, view: Tensor) -> None:
    module_name, _, attribute = name.rpartition(".")
    module = model.get_submodule(module_name)
    if attribute in module._parameters:
        parameter = module._parameters[attribute]
        assert parameter is not None
        parameter.data = view
    else:
        module._buffers[attribute] = view.data  # .data: with a version counter of its own (see backbone_version)
