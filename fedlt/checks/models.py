"""`fedlt.check_model`: whether a model is what the rest may rely on, for inputs of one shape.

    fedlt.check_model("resnet8", input_shape=(3, 32, 32))
    fedlt.check_model(Net, input_shape=(64,), num_classes=4, width=32)
    fedlt.check_model("hash_bag", input_shape=(20,), vocabulary=500)

What is checked stands in `CHECKS`.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedlt.checks.suite import Suite, other_generators, shape_of
from fedlt.data.inputs.tokens import PADDING, TokenKind
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.flat import Flat
from fedlt.nn.model import Model
from fedlt.nn.net import Net
from fedlt.training import trial

CHECKS = {
    "builds": "a module that gives logits [B, C], or a recipe whose build(task) gives a `fedlt.nn.net.Net`",
    "equal": "building draws from PyTorch's global generator only: two equal seeds give equal weights",
    "shapes": "encode(x) gives features [B, D] with D as declared, and the model logits [B, C], all of them numbers",
    "rows": "in evaluation mode a sample has the same logits, whatever else is in the batch",
    "padding": "a short text has the same logits with padding beside a longer one as alone (token ids)",
    "still": "a pass in evaluation mode changes nothing, and the next one gives equal bits",
    "one": "a batch of one sample has logits [1, C]; a normalisation that needs two may refuse it in training mode",
    "state": "training moves parameters and buffers alone: no other tensor or number of the modules",
    "repeated": "two steps of training give equal bits when they are repeated with equal seeds",
    "gradients": "every parameter that is trained gets a finite gradient from the cross-entropy of the logits",
    "tensors": "parameters hold real floats, and each lies in memory of its own, so that the model fits one vector",
    "copied": "copy.deepcopy gives a model of its own that predicts alike (methods copy models, or parts of them)",
}
ROWS = 4


def check_model(
    model: str | type[Model] | Callable[..., nn.Module],
    input_shape: tuple[int, ...] = (3, 32, 32),
    num_classes: int = 10,
    vocabulary: int | None = None,
    **options: Any,
) -> None:
    """Raise `ConformanceError`, with all that was found, if a model breaks what others rely on; else say nothing.

    Args:
        model: a name as in a scenario (`cnn`, `./net.py:Net`), a class of `nn.Module`, a function that returns one, or
            a recipe's class.
        input_shape: of one sample.
        num_classes: C.
        vocabulary: for models of token ids, how many there are; input_shape is then (tokens,).
        options: the model's keys.
    """
    inputs = None if vocabulary is None else TokenKind(vocabulary, input_shape[0], shorter=True)
    ModelSuite(model, options).run(Task("single", num_classes, tuple(input_shape), inputs=inputs))  # type: ignore[arg-type]


class ModelSuite(Suite):
    """One check of one model."""

    kind, contract, checks = "model", "models", CHECKS

    def run(self, task: Task) -> None:
        """See `check_model`."""
        with other_generators(0), torch.enable_grad():
            models = [self._built(task, noise) for noise in (0, 1)]
            self.end()
            model, other = models
            assert model is not None and other is not None

            pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
            strange = [name for (name, one), (_, two) in pairs if not torch.equal(one, two)]
            self.expect(not strange, "equal", f"{', '.join(strange)} differ between two models of one seed")

            x = task.inputs.example(ROWS, torch.Generator().manual_seed(0))
            try:
                self._expect_predictions(model.eval(), x, task)
                self._expect_one(model, x, task)
                trained = any(True for _ in model.parameters())  # a count model has none
                if trained:
                    self._expect_gradients(model.train(), x, task)
                self._expect_copy(model.eval(), x)
                self._expect_vector(model)
                if trained and not self.problems:
                    self._expect_steps(other, x, task)
            except Exception as error:
                self.expect(
                    bool(self.problems), "shapes", f"it fails on {ROWS} samples: {type(error).__name__}: {error}"
                )
        self.end()

    def _built(self, task: Task, noise: int) -> Net | None:
        """The model of seed 0.

        Args:
            noise: what the global generators of NumPy and Python are seeded with.
        """
        with other_generators(noise):
            try:
                recipe = self.component.create(self.options)  # imports its file, which may draw numbers
                torch.manual_seed(0)
                return trial.build(recipe, task, self.component.name)
            except ScenarioError as error:
                self.expect(False, "builds", error.problems[0].message)
            except Exception as error:
                self.expect(False, "builds", f"{type(error).__name__}: {error}")
        return None

    @torch.no_grad()
    def _expect_predictions(self, model: Net, x: Tensor, task: Task) -> None:
        """Expect features and logits of the right shape, finite, and nothing changed by the pass."""
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        parts = {"features": (model.encode(x), model.feature_dim), "logits": (model(x), task.num_classes)}
        for name, (found, width) in parts.items():
            fits = isinstance(found, Tensor) and tuple(found.shape) == (ROWS, width)
            self.expect(fits, "shapes", f"expected {name} ({ROWS}, {width}), got {shape_of(found)}")
            self.expect(not fits or bool(found.isfinite().all()), "shapes", f"the {name} are not finite")
        if self.problems:
            return

        logits = parts["logits"][0]
        close = torch.allclose(model(x[:1]), logits[:1], 1e-3, 1e-4)
        self.expect(close, "rows", "the first sample of a batch has other logits when it is alone")
        self.expect(torch.equal(model(x), logits), "still", "two passes give other logits")
        if task.inputs.padded:
            beside = x[:2].clone()
            beside[1, 1:] = PADDING
            close = torch.allclose(model(beside[1:]), model(beside)[1:], 1e-3, 1e-4)
            self.expect(close, "padding", "a short text has other logits beside a longer one; mind the mask")
        moved = [name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)]
        self.expect(not moved, "still", f"a pass changed {', '.join(moved)}")

    @torch.no_grad()
    def _expect_one(self, model: Net, x: Tensor, task: Task) -> None:
        """Expect a single sample to pass, but for batch normalisation in training."""
        for training in (False, True):
            try:
                found = model.train(training)(x[:1])
            except ValueError as error:
                normalised = training and "more than 1 value per channel" in str(error)
                self.expect(normalised, "one", f"ValueError: {error}")
                continue
            fits = isinstance(found, Tensor) and tuple(found.shape) == (1, task.num_classes)
            mode = "training" if training else "evaluation"
            self.expect(fits, "one", f"expected (1, {task.num_classes}) in {mode} mode, got {shape_of(found)}")
            finite = not fits or bool(found.isfinite().all())
            self.expect(finite, "one", f"the logits of one sample are not finite in {mode} mode")

    def _expect_steps(self, model: Net, x: Tensor, task: Task) -> None:
        """Train two copies by the same two steps, and expect equal bits, and nothing kept outside of parameters and
        buffers.

        Args:
            model: is trained, and used up.
        """
        twin = copy.deepcopy(model)
        before = _outside(model)
        for noise, each in enumerate((model, twin)):
            with other_generators(noise):
                torch.manual_seed(0)
                _two_steps(each.train(), x, task)

        moved = sorted(name for name, value in _outside(model).items() if before.get(name) != value)
        self.expect(not moved, "state", f"a pass changed {', '.join(moved)}; make it a buffer (register_buffer)")
        tensors = zip(model.state_dict().items(), twin.state_dict().values(), strict=True)
        strange = [name for (name, one), two in tensors if not torch.equal(one, two)]
        self.expect(not strange, "repeated", f"{', '.join(strange)} differ; draw from PyTorch's generator alone")

    def _expect_gradients(self, model: Net, x: Tensor, task: Task) -> None:
        """Expect each trained parameter to have a finite gradient."""
        cross_entropy(model(x), torch.arange(ROWS) % task.num_classes).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.expect(parameter.grad is not None, "gradients", f"{name} gets none; is it ever used?")
                finite = parameter.grad is None or bool(parameter.grad.isfinite().all())
                self.expect(finite, "gradients", f"that of {name} is not finite")
        model.zero_grad()

    @torch.no_grad()
    def _expect_copy(self, model: Net, x: Tensor) -> None:
        """Expect a copy that shares nothing with the model."""
        twin = copy.deepcopy(model)
        self.expect(torch.equal(twin(x), model(x)), "copied", "the copy has other logits")
        for parameter in twin.parameters():
            parameter.add_(1)
        alike = zip(twin.parameters(), model.parameters(), strict=True)
        shared = any(torch.equal(one, two) for one, two in alike)
        self.expect(not shared, "copied", "the copy shares parameters with the model")

    def _expect_vector(self, model: Net) -> None:
        try:
            Flat(model)
        except ValueError as error:
            self.expect(False, "tensors", str(error))


def _two_steps(model: Net, x: Tensor, task: Task) -> None:
    """Two steps of SGD."""
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(model(x), torch.arange(ROWS) % task.num_classes).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _outside(model: nn.Module) -> dict[str, bytes]:
    """What people's own modules hold beside parameters, buffers and parts: plain values and tensors, by name."""
    found = {}
    for name, part in model.named_modules():
        if type(part).__module__.partition(".")[0] in ("torch", "fedlt"):
            continue
        for attribute, value in vars(part).items():
            if not attribute.startswith("_") and attribute != "training":
                try:
                    found[f"{name}.{attribute}".removeprefix("backbone.")] = pickle.dumps(value)
                except Exception:  # what cannot be pickled is hardly state
                    continue
    return found
