"""What hooks of strategies and learners must give. What they gave instead is refused with the hook's name and a remedy.

Each check costs next to nothing beside the hook, and runs for the project's own methods, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlt.config.whose import OURS
from fedlt.errors import HookError

if TYPE_CHECKING:
    from fedlt.data.task import Task


def name_of(*hooks: tuple[object, str]) -> str:
    """`Mine.loss`, of several hooks that had a hand in a result: the first one of a user's own, else the first.

    Where a wrapping strategy only hands a hook on, that of the one inside is meant.
    """
    from fedlt.wrapping import answering  # late: it imports torch

    hooks = tuple((answering(part, hook), hook) for part, hook in hooks)
    own = [pair for pair in hooks if _is_own(*pair)]
    part, hook = (own or hooks)[0]
    return f"{type(part).__name__}.{hook}"


def given(value: object) -> str:
    """A value in words: `a tensor of shape [32] (float32)`, `None`, `a dict`."""
    if value is None:
        return "None"
    if isinstance(value, Tensor | np.ndarray):
        what = "a tensor" if isinstance(value, Tensor) else "an array"
        return f"{what} of shape {list(value.shape)} ({str(value.dtype).removeprefix('torch.')})"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def expect_loss(value: object, loss: object, learner: object) -> Tensor:
    """The loss of a batch, one number whose gradient reaches the model.

    Args:
        loss: the function that gave it.
    """
    if isinstance(value, Tensor) and value.ndim == 0 and value.requires_grad:
        return value

    part = getattr(loss, "__self__", None)
    name = name_of((part, "loss"), (learner, "loss")) if part is not None else getattr(loss, "__qualname__", "the loss")
    if isinstance(value, Tensor) and value.ndim == 0:
        remedy = "return it without detach(), item() or no_grad(), as a function of client.model(batch.x)"
        raise HookError(f"{name} gave a number that no gradient leads back from to a trained parameter; {remedy}")
    remedy = "return one number, such as its mean()" if isinstance(value, Tensor) else "return a tensor of one number"
    raise HookError(f"{name} gave {given(value)}; {remedy}")


def expect_logits(found: object, rows: int, task: Task, name: str) -> None:
    """Logits [B, C], [B, ..., C] where targets have further axes, or variants of them by name.

    Args:
        rows: B.
    """
    classes, axes = task.num_classes, task.target.axes
    variants = found if isinstance(found, Mapping) else {"": found}
    if not variants:
        raise HookError(f"{name} gave no variant; return logits [B, C], or some by name")

    for variant, one in variants.items():
        logits = getattr(one, "logits", one)  # of a `fedlt.learner.Prediction`
        of = f" for the variant {variant!r}" if variant else ""
        expected = f"logits [{rows}, {'..., ' * axes}{classes}]"
        if not isinstance(logits, Tensor):
            raise HookError(f"{name} gave {given(logits)}{of}; return {expected}")
        if not logits.is_floating_point() and logits.shape[:1] == (rows,) and logits.ndim == 1 + axes:
            remedy = f"return {expected}, without argmax()"
            raise HookError(f"{name} gave classes{of}, {given(logits)}; {remedy}")
        fits = logits.ndim == 2 + axes and (logits.shape[0], logits.shape[-1]) == (rows, classes)
        if not fits or not logits.is_floating_point():
            raise HookError(f"{name} gave {given(logits)}{of}; return {expected}")


def expect_vector(value: object, like: Tensor, what: str) -> Tensor:
    """What is assigned to `server.weights` or `client.vector`: real floats [S], of any precision."""
    if not isinstance(value, Tensor) or value.shape != like.shape:
        remedy = f"assign the whole vector, [{len(like)}]"
        raise HookError(f"{what} was given {given(value)}; {remedy}")
    if not value.is_floating_point():
        raise HookError(f"{what} was given {given(value)}; assign real floats")
    return value


def expect_tensors(box: Mapping[str, object], what: str) -> None:
    """What is kept or sent is tensors by name.

    Args:
        what: `client.extras`, say.
    """
    for name, value in box.items():
        if not isinstance(value, Tensor):
            numbers = isinstance(value, Real | list | tuple | np.ndarray)
            remedy = "keep torch.tensor(...) of it" if numbers else "keep tensors only"
            raise HookError(f"{what}[{name!r}] is {given(value)}; {remedy}")


def expect_weight(value: object, name: str) -> float:
    """A client's weight in the mean: a finite number of at least 0."""
    number = value.ndim == 0 if isinstance(value, Tensor) else isinstance(value, Real)
    if not number:
        raise HookError(f"{name} gave {given(value)}; return a number of at least 0, such as client.num_samples")
    if not math.isfinite(value) or value < 0:  # type: ignore[arg-type,operator]
        raise HookError(f"{name} gave {float(value)}; return a finite number of at least 0")  # type: ignore[arg-type]
    return value  # type: ignore[return-value]


def expect_order(found: Any, samples: int, name: str) -> NDArray[np.int64]:
    """One pass over a site's samples: at least one position in 0..n-1."""
    order = np.asarray(found) if isinstance(found, np.ndarray | Tensor | Sequence) else np.empty((0, 0))
    if not order.size and order.ndim == 1:
        remedy = "let it use at least one of them, or deal more to each client"
        raise HookError(f"{name} gave an empty pass over {samples} samples; {remedy}")
    if order.ndim != 1 or order.dtype.kind not in "iu":
        remedy = f"return an array of whole numbers in 0..{samples - 1}, as site.rng.permutation(site.num_samples) is"
        raise HookError(f"{name} gave {given(found)}; {remedy}")
    if order.min() < 0 or order.max() >= samples:
        raise HookError(f"{name} gave positions from {order.min()} to {order.max()}; there are 0..{samples - 1}")
    return order.astype(np.int64, copy=False)


def _is_own(part: object, hook: str) -> bool:
    """Whether the hook is a user's own function."""
    function = getattr(type(part), hook, None)
    module = getattr(function, "__module__", None) or ""
    return bool(module) and module.partition(".")[0] not in (*OURS, "torch")
