"""Every model is a backbone and a head, so that long-tail heads and losses need only the features [B, D]."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fedlt.data.inputs.features import Features
from fedlt.nn.norm import BatchNorm

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind


class Net(nn.Module):
    """`head(backbone(x))`. Strategies and learners may add further modules.

    Attributes:
        feature_dim: D.
        inputs: the kind of the inputs, which knows their masks; `fedlt.training.trial.build` sets it.
        head_name: what the head is called in a module that was taken apart (`fedlt.nn.wrapped`).
        no_head: a sentence where the head is none, and the features are the logits.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, feature_dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.feature_dim = feature_dim
        self.inputs: InputKind | None = None
        self.head_name = ""
        self.no_head = ""
        self.backbone_loads = 0  # counts whole-vector loads, which bypass the tensors' own version counters

    def encode(self, x: Tensor | Features, mask: Tensor | None = None) -> Tensor:
        """[B, D] features. Use this instead of `backbone(x)`: features may be at hand already, inputs may be padded.

        Args:
            x: a batch, as the site or a test set gives it.
            mask: [B, L] which steps of x are real; None: the inputs' kind tells it from x itself. A backbone whose
                `forward` takes two arguments is given it.
        """
        if isinstance(x, Features):
            return x.under(self)
        return self.through(self.backbone, x, mask)

    def through(self, part: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the backbone, or a part of it that reads inputs, gives for a batch;

        Args:
            x, mask: as for `encode`.
        """
        if mask is None and self.inputs is not None:
            x, mask = self.inputs.split(x)
        return passed(part, x, mask)

    def forward(self, x: Tensor | Features, mask: Tensor | None = None) -> Tensor:
        """[B, C] logits."""
        return self.head(self.encode(x, mask))  # type: ignore[no-any-return]

    def part(self, name: str) -> Any:
        """The module, parameter or buffer of that name: `part("head")`, `part("head.weight")`, `part("backbone.0")`.

        Inside `Client.loss_at` it is what stands in a parameter's place.

        Raises:
            AttributeError: where there is none.
        """
        return attrgetter(name)(self)

    def backbone_version(self) -> tuple[int, int]:
        """Changes whenever a tensor of the backbone does."""
        return self.backbone_loads, edits(self.backbone)


class LossModule(nn.Module):
    """A loss as a module, so that `functional_call` can put other weights into the model beneath it."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, *arguments: Any) -> Tensor:
        return self.loss(*arguments)


class Switch:
    """Puts a module into training or evaluation mode: `nn.Module.train` for a module whose parts stay the same.

    PyTorch walks through all parts and their `__setattr__` each time, a twentieth of the time of a small client.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = list(module.modules())
        self._plain = [part.__dict__ for part in parts if type(part).train is nn.Module.train]
        self._module = module if len(self._plain) < len(parts) else None  # some part has a way of its own

    def __call__(self, training: bool) -> None:
        if self._module is not None:
            self._module.train(training)
            return
        for attributes in self._plain:
            attributes["training"] = training


def passed(module: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """What a module gives for inputs, which is given their mask where they have one and it reads it."""
    if mask is not None and reads_mask(type(module).forward):
        return module(x, mask)  # type: ignore[no-any-return]
    return module(x)  # type: ignore[no-any-return]


@lru_cache
def reads_mask(forward: Callable[..., Any]) -> bool:
    """Whether a backbone's `forward` takes a mask beside the inputs: a second argument that must be given, or is called
    a mask.
    """
    parameters = [*inspect.signature(forward).parameters.values()][1:]
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(placed) > 1 and ("mask" in placed[1].name or placed[1].default is placed[1].empty)


def edits(module: nn.Module) -> int:
    """Changes whenever a tensor of the module is edited in place, or a buffer replaced; running statistics included.

    It is asked for each client that is tested. `module.parameters()` and its like, which name what they find and leave
    out what they have met before, would take three times as long.
    """
    found, parts = 0, [module]
    while parts:
        part = parts.pop()
        found += sum(p._version for p in part._parameters.values() if p is not None)
        found += sum(b._version + id(b) for b in part._buffers.values() if b is not None)
        if isinstance(part, BatchNorm):
            found += part.updates
        parts += [child for child in part._modules.values() if child is not None]
    return found
