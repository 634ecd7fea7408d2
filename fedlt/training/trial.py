"""Whether a model is what the rest may rely on: told before any work, in sentences that name the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fedlt.config.own_lines import told
from fedlt.errors import Problem, ScenarioError
from fedlt.nn.adapters.adapter import adapt
from fedlt.nn.model import Model
from fedlt.nn.net import Net, reads_mask
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from fedlt.config.sections import Local
    from fedlt.data.task import Task


def build(recipe: Any, task: Task, name: str) -> Net:
    """The recipe's model.

    Raises:
        ScenarioError: where it cannot be built, or is no `Net`.
    """
    try:
        model = recipe.build(task)
    except ValueError as error:
        raise ScenarioError(Problem("model", str(error))) from error
    except Exception as error:
        raise ScenarioError(Problem("model", f"{name} cannot be built: {told(error)}")) from error
    if not isinstance(model, Net):
        message = f"build() of {name} gives a {type(model).__name__}, and methods need to know its features"
        raise ScenarioError(Problem("model", f"{message}; return fedlt.nn.net.Net(backbone, head, feature_dim)"))

    model.inputs = task.inputs
    if task.inputs.padded and not reads_mask(type(model.backbone).forward):
        message = f"{name} would take padding for data: the inputs are {task.inputs}, some of them shorter"
        raise ScenarioError(Problem("model", f"{message}; let its backbone be called as forward(x, mask)"))
    if isinstance(recipe, Model) and not _redefines_keys(type(recipe)):
        try:
            adapt(model, recipe.freeze, recipe.adapter)
        except ValueError as error:
            raise ScenarioError(Problem("model", f"{name}: {error}")) from error
    return model


def _redefines_keys(recipe: type[Model]) -> bool:
    """Whether a user's recipe has fields of its own under the names of keys that every model has."""
    own = {name for kind in recipe.__mro__ if kind is not Model for name in vars(kind).get("__annotations__", {})}
    return not own.isdisjoint(Model.young)


def expect_passes(model: Net, task: Task, name: str, local: Local, sizes: Iterable[int]) -> None:
    """One pass with two samples, and one in training mode with one sample where a client's last batch is that.

    Args:
        model: is used up.
        task: gives two made-up samples.
        name: of the model, for messages.
        local: says how batches are cut.
        sizes: samples of each client.

    Raises:
        ScenarioError: where the features or logits have another shape than they should, or a pass fails.
    """
    x = task.inputs.example(2)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model.eval()
        for what, part, width in (("features", model.encode, model.feature_dim), ("logits", model, task.num_classes)):
            try:
                found = part(x)
            except Exception as error:
                message = f"{name} fails on two samples of shape {task.input_shape}: {told(error)}"
                raise ScenarioError(Problem("model", message)) from error
            _expect_shape(name, what, found, width, task.target.axes)
        expect_one(name, model(x[:1]), task)

        single = [client for client, size in enumerate(sizes) if _ends_in_one(size, local)]
        if not single:
            return
        try:
            found = model.train()(x[:1])
        except Exception as error:
            message = (
                f"{name} cannot train on one sample ({told(error)}), and the last batch of "
                f"{counted(len(single), 'client')}, such as client {single[0]}, is one; take merge or drop, another "
                "local.batch_size, or a normalisation that does not need a batch"
            )
            raise ScenarioError(Problem("local.last_batch", message)) from error
        expect_one(name, found, task)


def expect_one(name: str, logits: object, task: Task) -> None:
    """The logits of a single sample keep its axis.

    Raises:
        ScenarioError: where a `squeeze` has taken it away.
    """
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else ()
    if len(shape) != 2 + task.target.axes or shape[0] != 1:
        message = f"{name} gives logits of shape {shape} for a batch of one sample; let forward() keep the first axis"
        raise ScenarioError(Problem("model", f"{message} (squeeze() drops it: name the axis, or use flatten(1))"))


def _ends_in_one(size: int, local: Local) -> bool:
    """Whether a pass over so many samples has a batch of one; `merge` and `drop` leave that of a single sample."""
    return size == 1 or local.batch_size == 1 or (local.last_batch == "keep" and size % local.batch_size == 1)


def _expect_shape(name: str, what: str, found: object, width: int, axes: int) -> None:
    """Expect what a model gives for two samples to have the shape [2, ..., width].

    Args:
        axes: between samples and features or classes, of any length.
    """
    shape = tuple(found.shape) if isinstance(found, Tensor) else ()
    if len(shape) != 2 + axes or (shape[0], shape[-1]) != (2, width):
        given = shape if isinstance(found, Tensor) else type(found).__name__
        expected = f"(2, {'..., ' * axes}{width})"
        message = f"expected {what} of shape {expected} from {name} for two samples, got {given}"
        raise ScenarioError(Problem("model", message))
