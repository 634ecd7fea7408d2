"""The check of models: the built-in ones pass, and every kind of breach is found."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fedlt
from fedlt.checks.models import CHECKS
from fedlt.checks.suite import ConformanceError
from fedlt.config import catalog
from fedlt.data.inputs import InputKind
from fedlt.data.task import Task
from fedlt.nn.mlp import MLP
from fedlt.nn.model import Model
from fedlt.nn.net import Net

pytestmark = pytest.mark.slow

SHAPE, VOCABULARY = (6,), 9


LARGE = ("resnet18", "resnet34", "efficientnet_lite0")  # the last one needs packages, and has tests of its own


OF_ITEMS = ("behaviour_experts", "two_towers")  # of histories: the checks of item_ssl and aw_moe play such inputs
TAGGERS = ("bilstm_tagger",)  # a class for each step: the check of the learner crf plays such targets
READING = [
    name
    for name in catalog.names("model")
    if name == "clauses" or (".text." in catalog.find("model", name).target and name not in TAGGERS)
]


@pytest.mark.parametrize(
    "name", [name for name in catalog.names("model") if name not in (*LARGE, *READING, *TAGGERS, *OF_ITEMS)]
)
def test_built_in_models_pass(name: str) -> None:
    fedlt.check_model(name)


@pytest.mark.parametrize("name", READING)
def test_built_in_models_of_token_ids_pass(name: str) -> None:
    fedlt.check_model(name, (20,), vocabulary=50)


def test_a_users_own_file_and_class_are_checked(own_file: Callable[[str], Path]) -> None:
    path = own_file("from fedlt.nn.mlp import MLP\n\n\n@dataclass(frozen=True)\nclass Mine(MLP):\n    pass\n")
    fedlt.check_model(f"{path}:Mine", SHAPE, 3, width=5)
    fedlt.check_model(MLP, SHAPE, 3)


class Plain(nn.Module):
    """An ordinary module, with dropout and a normalisation that needs two samples."""

    def __init__(self, num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout())
        self.last = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))  # type: ignore[no-any-return]


def test_an_ordinary_module_and_a_function_that_makes_one_pass() -> None:
    fedlt.check_model(Plain, SHAPE, 3, width=5)
    fedlt.check_model(lambda num_classes: Plain(num_classes, 4), SHAPE, 3)


# Breaches, one class each ---------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """Six features, of which each breach below spoils something."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


@dataclass(frozen=True)
class Recipe(Model):
    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Layer(), 6


@dataclass(frozen=True)
class NoNet(Recipe):
    def build(self, task: Task) -> Any:
        return nn.Linear(6, task.num_classes)


@dataclass(frozen=True)
class DrawsFromNumPy(Recipe):
    def build(self, task: Task) -> Net:
        net = super().build(task)
        nn.init.constant_(net.part("head.bias"), float(np.random.rand()))
        return net


@dataclass(frozen=True)
class FiveFeatures(Recipe):
    def build(self, task: Task) -> Net:
        return Net(Layer(), nn.Linear(6, task.num_classes), 5)


class Centred(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - x.mean(0)


@dataclass(frozen=True)
class AboutTheMean(Recipe):
    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Centred(), 6


class Counting(Layer):
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return super().forward(x)


@dataclass(frozen=True)
class CountsItsPasses(Recipe):
    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Counting(), 6


class Idle(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(2))


@dataclass(frozen=True)
class HasAnIdleParameter(Recipe):
    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Idle(), 6


@dataclass(frozen=True)
class HoldsComplexNumbers(Recipe):
    def build(self, task: Task) -> Net:
        net = super().build(task)
        net.register_parameter("phase", nn.Parameter(torch.zeros(2, dtype=torch.complex64), requires_grad=False))
        return net


class Single(Layer):
    """There is only one of it."""

    def __deepcopy__(self, memo: object) -> Single:
        return self


@dataclass(frozen=True)
class CannotBeCopied(Recipe):
    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Single(), 6


class Squeezed(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


@dataclass(frozen=True)
class DropsTheAxisOfOne(Recipe):
    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Squeezed(), 6


class Remembering(Layer):
    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x) if self.training else 0
        return super().forward(x)


@dataclass(frozen=True)
class KeepsANumber(Recipe):
    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Remembering(), 6


class Noisy(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (random.random() if self.training else 1.0)


@dataclass(frozen=True)
class DrawsWhenItTrains(Recipe):
    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Noisy(), 6


class Unmasked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 6)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.table(ids).mean(1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TakesPaddingForTokens(Model):
    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        return Unmasked(), 6


BREACHES: list[tuple[type[Model], str, str]] = [
    (NoNet, "builds", "gives a Linear"),
    (DrawsFromNumPy, "equal", "head.bias differ"),
    (FiveFeatures, "shapes", r"expected features \(4, 5\), got Tensor \(4, 6\)"),
    (AboutTheMean, "rows", "other logits when it is alone"),
    (TakesPaddingForTokens, "padding", "other logits beside a longer one"),
    (CountsItsPasses, "still", "changed backbone.seen"),
    (DropsTheAxisOfOne, "one", r"expected \(1, 10\) in evaluation mode, got Tensor \(10,\)"),
    (KeepsANumber, "state", "a pass changed seen; make it a buffer"),
    (DrawsWhenItTrains, "repeated", "backbone.weight.* differ; draw from PyTorch's generator alone"),
    (HasAnIdleParameter, "gradients", "backbone.unused gets none"),
    (HoldsComplexNumbers, "tensors", "phase holds complex64"),
    (CannotBeCopied, "copied", "shares parameters"),
]


@pytest.mark.parametrize(("broken", "check", "found"), BREACHES, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_model_is_caught(broken: type[Model], check: str, found: str) -> None:
    with pytest.raises(
        ConformanceError, match=f"(?s){broken.__name__} breaks the contract of models.*{found}"
    ) as caught:
        fedlt.check_model(broken, SHAPE, vocabulary=VOCABULARY if check == "padding" else None)
    assert {name for name, _ in caught.value.problems} == {check}


def test_every_check_is_seen_to_fail() -> None:
    assert {check for _, check, _ in BREACHES} == set(CHECKS)


def test_global_generators_are_left_as_they_were() -> None:
    before = torch.get_rng_state()
    fedlt.check_model("mlp", SHAPE)
    assert torch.equal(before, torch.get_rng_state())
