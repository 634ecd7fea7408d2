"""Any `torch.nn.Module` as a model: its last layer becomes the head, and all that comes before it the backbone.

The module is built, its head is found and taken out (an `nn.Identity` takes its place), and what is left gives the
features. That this is the same model is tried with two samples before anything else is done. Where there is no such
head, the whole module is the backbone, and methods that need a head of its own are refused with the reason.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fedlt.config.module_source import YOUNG
from fedlt.config.own_lines import told
from fedlt.nn.model import Model
from fedlt.nn.net import Net, reads_mask

if TYPE_CHECKING:
    from fedlt.data.task import Task


@dataclass(frozen=True)
class WrappedModule(Model):
    """The recipe of a model that is an ordinary module.

    Attributes:
        make: the class, or a function that returns the module.
        name: for sentences.
        arguments: for `make`, beside those that the data tell (`fedlt.config.module_source.GIVEN`).
        head: name of the last layer; None: the last `nn.Linear` with one output a class.
        channels_last: memory order of images.
    """

    make: Callable[..., Any]
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    head: str | None = None
    channels_last: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.make, nn.Module):
            raise ValueError(f"{self.name} is a module already; name its class, or a function that builds it")

    @classmethod
    def of(cls, make: Callable[..., Any], name: str, options: dict[str, Any]) -> WrappedModule:
        """The recipe with a scenario's options: those of every module, and arguments of `make`."""
        taken = _parameters(make)
        common = {key: value for key, value in options.items() if key in YOUNG and key not in taken}
        return cls(make, name, {key: value for key, value in options.items() if key not in common}, **common)

    def build(self, task: Task) -> Net:
        """The module in two parts.

        Raises:
            ValueError: with a sentence where that cannot be done.
        """
        module = self._made(task)
        x, mask = task.inputs.split(task.inputs.example(2))
        run = partial(module, x, mask) if mask is not None and reads_mask(type(module).forward) else partial(module, x)
        with _at_rest(module):
            logits = self._logits(run, task)
            found = self._find_head(module, run, logits, task)
        if found is None:
            return self._headless(module, task)

        name, features = found
        head = module.get_submodule(name)
        shared = {id(parameter) for parameter in head.parameters()}
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, nn.Identity())
        if any(id(parameter) in shared for parameter in module.parameters()):
            setattr(module.get_submodule(owner), attribute, head)
            return self._headless(module, task, f"its last layer {name} shares weights with another one")

        with _at_rest(module):
            rest = run()
        if not (isinstance(rest, Tensor) and torch.equal(rest, features)):
            raise ValueError(f"{self.name} uses its last layer {name} in another way than calling it once at the end")
        net = Net(module, head, features.shape[-1])
        net.head_name = name
        return net

    def _made(self, task: Task) -> nn.Module:
        """The module as its maker gives it."""
        told = {"num_classes": task.num_classes, "input_shape": task.input_shape}
        if isinstance(size := getattr(task.inputs, "vocabulary", None), int):
            told["vocabulary"] = size
        asked = _parameters(self.make)
        if "vocabulary" in asked and "vocabulary" not in told:
            raise ValueError(f"{self.name} asks for a vocabulary, and the inputs are {task.inputs}")

        module = self.make(**self.arguments, **{name: value for name, value in told.items() if name in asked})
        if not isinstance(module, nn.Module):
            message = f"{self.name} gives a {type(module).__name__}; a model is a class of torch.nn.Module, a function"
            raise ValueError(f"{message} that returns one, or a recipe (fedlt.nn.model.Model)")
        return module

    def _logits(self, run: Callable[[], Any], task: Task) -> Tensor:
        """What the module gives for two samples. Raises ValueError where that is no logits [2, ..., C]."""
        shape = task.input_shape
        try:
            found, again = run(), run()
        except Exception as error:
            message = f"{self.name} fails on two samples of shape {shape}: {told(error)}"
            raise ValueError(message) from error

        if not isinstance(found, Tensor):
            raise ValueError(f"{self.name} returns a {type(found).__name__}; return the logits [B, C] alone")
        if isinstance(again, Tensor) and not torch.equal(found, again) and found.isfinite().all():
            remedy = "a dropout needs to know: F.dropout(x, training=self.training)"
            raise ValueError(f"{self.name} gives other logits at each pass in evaluation mode; {remedy}")

        if found.ndim != 2 + task.target.axes or (len(found), found.shape[-1]) != (2, task.num_classes):
            expected = f"(2, {'..., ' * task.target.axes}{task.num_classes})"
            remedy = "" if "num_classes" in _parameters(self.make) else "; let its constructor take num_classes"
            message = f"expected logits of shape {expected} from {self.name} for two samples"
            raise ValueError(f"{message}, got {tuple(found.shape)}{remedy}")
        return found

    def _find_head(
        self, module: nn.Module, run: Callable[[], Any], logits: Tensor, task: Task
    ) -> tuple[str, Tensor] | None:
        """The name of the layer whose output is the logits, and its input; None where there is none.

        Raises:
            ValueError: where `head` names no such layer, or where more is computed after the last linear layer.
        """
        layers = dict(module.named_modules())
        if self.head is not None and self.head not in layers:
            known = ", ".join(name for name in layers if name)
            raise ValueError(f"{self.name} has no layer {self.head!r} for its head; there are: {known}")

        linear = {name: layer for name, layer in layers.items() if type(layer) is nn.Linear}
        fitting = [name for name, layer in linear.items() if layer.out_features == task.num_classes]
        names = fitting[::-1] if self.head is None else [self.head]
        after = ""
        for name in filter(None, names):
            calls = _calls(layers[name], run)
            if len(calls) != 1:
                continue
            given, output = calls[0]
            if torch.equal(output, logits) and given.ndim == logits.ndim:
                return name, given
            after = after or _what_follows(output, logits)

        if self.head is not None:
            what = f"its output is not the module's{after}" if after else "it is not called once with the features"
            raise ValueError(f"{self.head!r} is no head of {self.name}: {what}; name the layer that gives the logits")
        if "softmax" in after:
            raise ValueError(f"{self.name} does not end with its last layer{after}; let forward() return the logits")
        return None

    def _headless(self, module: nn.Module, task: Task, reason: str = "") -> Net:
        """The module as it is, its logits in the place of features.

        Args:
            reason: why it cannot be taken apart.
        """
        net = Net(module, nn.Identity(), task.num_classes)
        plain = (
            f"it has no linear last layer with {task.num_classes} outputs that gives its logits (model.head names one)"
        )
        net.no_head = f"{self.name} has no head that can be told from the rest: {reason or plain}"
        return net


def described(net: Net, name: str) -> str:
    """What was found of a module: its parts, their parameters and the number of features."""
    if net.no_head:
        return f"{net.no_head}; its {_count(net.backbone)} parameters are one whole"
    head, features = net.head, f"{net.feature_dim} features"
    parts = f"{_count(net.backbone)} parameters of {name} before it give {features}"
    return f"the head is {net.head_name}, a {type(head).__name__} of {_count(head)} parameters; {parts}"


def _count(module: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"


def _parameters(make: Callable[..., Any]) -> set[str]:
    """The names of the arguments that a class or function takes."""
    try:
        return set(inspect.signature(make).parameters)
    except (TypeError, ValueError):
        return set()


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, as it was before at the end; nothing is drawn from the generators."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    with torch.no_grad():
        yield
    for part, training in modes.items():
        part.training = training


def _calls(layer: nn.Module, run: Callable[[], Any]) -> list[tuple[Tensor, Tensor]]:
    """Input and output of each call of the layer in one pass, where these are tensors."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor):
            seen.append((given[0], output))

    handle = layer.register_forward_hook(note)
    try:
        run()
    finally:
        handle.remove()
    return seen


def _what_follows(output: Tensor, logits: Tensor) -> str:
    """In words, what becomes of the last layer's output; "" where its shape says that it is not the last one."""
    if output.shape != logits.shape:
        return ""
    for name, follows in (("log_softmax", torch.log_softmax), ("softmax", torch.softmax)):
        if torch.allclose(follows(output, -1), logits, atol=1e-6):
            return f": {name} follows, and losses take logits"
    return ": its output is changed again"
