"""Schedules of the learning rate by PyTorch's names: its factors round by round, and what asks for the rounds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import fedlt
from fedlt.config import catalog
from fedlt.config.scenario import load_scenario
from fedlt.config.schedules import LENGTH, TORCH, UNFIT
from fedlt.config.schema import check
from fedlt.errors import ScenarioError
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net

OF_THE_RATE, OF_THE_MOMENTUM = ("max_lr",), ("cycle_momentum", "base_momentum", "max_momentum")
OTHER_WAYS = ("epochs", "steps_per_epoch")  # to say `total_steps`

Client = Any
Place = Callable[[int], Client]


@dataclass(frozen=True)
class Halves(CrossEntropy):
    def stages(self) -> tuple[Stage, ...]:
        return Stage("first", 0.5), Stage("second", 0.5)


@pytest.fixture
def at(tiny: dict[str, Any], make_client: Any) -> Callable[..., Place]:
    """A client put into a round: `at("{name: StepLR, ...}", rounds=10)(round)`."""

    def of(text: str, rounds: int = 10, lr: float = 0.4, warmup: float = 0.0, **fields: Any) -> Place:
        local = load_scenario(tiny, [f"local.schedule={text}", f"local.lr={lr}", f"local.warmup={warmup}"]).local
        net = Net(nn.Linear(3, 4), nn.Linear(4, 2), 4)
        client = make_client(net, np.ones((4, 3)), np.arange(4) % 2, local, **fields)
        vars(client.task)["_rounds"], vars(client)["_span"] = rounds, 1 / rounds

        def put(round: int) -> Client:
            vars(client)["_progress"] = (round - 1) / rounds
            return client

        return put

    return of


def paces(put: Place, rounds: int = 10) -> list[float]:
    """Factors in the first of four steps of each round; in the last step they are the same."""
    found = [put(round).trainer.pace(put(round), 0, 4) for round in range(1, rounds + 1)]
    assert found == [put(round).trainer.pace(put(round), 3, 4) for round in range(1, rounds + 1)]
    return found


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("ConstantLR", {"factor": 0.5, "total_iters": 4}),
        ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
        ("CosineAnnealingLR", {"T_max": 4}),
        ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2}),
        ("ExponentialLR", {"gamma": 0.9}),
        ("LinearLR", {"start_factor": 0.1, "total_iters": 6}),
        ("MultiStepLR", {"milestones": [3, 8], "gamma": 0.2}),
        ("OneCycleLR", {"total_steps": 10, "pct_start": 0.4}),
        ("PolynomialLR", {"total_iters": 8, "power": 0.9}),
        ("StepLR", {"step_size": 3}),
    ],
)
def test_ten_rounds_are_those_of_pytorch(at: Callable[..., Place], name: str, keys: dict[str, Any]) -> None:
    text = ", ".join(f"{key}: {value}" for key, value in keys.items())
    put = at(f"{{name: {name}, {text}}}")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4, momentum=0.9)
    extra = {"max_lr": 0.4} if name == "OneCycleLR" else {}
    scheduler = getattr(lr_scheduler, name)(optimizer, **keys, **extra)
    expected = []
    for _ in range(10):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 10:
            scheduler.step()
    assert [0.4 * pace for pace in paces(put)] == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) > 1
    assert not put(1).horizon.asked


def test_every_class_of_pytorch_is_there_or_refused_with_a_reason() -> None:
    kinds = {
        name
        for name, kind in vars(lr_scheduler).items()
        if isinstance(kind, type) and kind.__module__ == lr_scheduler.__name__
    }
    kinds = {name for name in kinds if issubclass(getattr(lr_scheduler, name), lr_scheduler.LRScheduler)}
    assert kinds - {"LRScheduler", "_LRScheduler"} == {*TORCH, *UNFIT}
    assert catalog.names("schedule") == sorted(["constant", "cosine", "step", *TORCH])


@pytest.mark.parametrize("name", TORCH)
def test_the_keys_are_arguments_of_the_class_with_its_defaults(name: str) -> None:
    arguments = inspect.signature(getattr(lr_scheduler, name)).parameters
    for field in catalog.find("schedule", name).fields:
        usual = arguments[field.name].default
        if field.name == LENGTH.get(name):
            assert (field.required, field.default) == (False, None)
        else:
            assert field.required is (usual is inspect.Parameter.empty)
            assert field.required or field.default == usual == check(field.annotation, field.default)
    left_out = set(arguments) - {field.name for field in TORCH[name]}
    assert left_out <= {"optimizer", "last_epoch", "verbose", *OF_THE_RATE, *OF_THE_MOMENTUM, *OTHER_WAYS}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name: StepLR, step_size: 2, gamma: 0.5}", [1, 1, 0.5, 0.5]),
        ("{name: ExponentialLR, gamma: 0.5}", [1, 0.5, 0.25, 0.125]),
        ("CosineAnnealingLR", [1, 0.85355339, 0.5, 0.14644661]),  # T_max: the four rounds of the run
        ("PolynomialLR", [1, 0.75, 0.5, 0.25]),
        ("{name: OneCycleLR, pct_start: 0.5, anneal_strategy: linear, div_factor: 4}", [0.25, 1, 0.5, 0]),
    ],
)
def test_four_rounds_by_hand(at: Callable[..., Place], text: str, expected: list[float]) -> None:
    put = at(text, rounds=4)
    assert paces(put, 4) == pytest.approx(expected, abs=1e-4)
    assert put(1).horizon.asked == any(name in text for name in LENGTH)


def test_it_begins_anew_in_each_stage(at: Callable[..., Place]) -> None:
    halved = at("{name: ExponentialLR, gamma: 0.5}", rounds=7, learner=Halves())  # 4 rounds, for 7/2 is no whole number
    assert paces(halved, 7) == [1, 0.5, 0.25, 0.125, 1, 0.5, 0.25]
    assert paces(at("PolynomialLR", rounds=7, learner=Halves()), 7) == pytest.approx(
        [1, 3 / 4, 2 / 4, 1 / 4, 1, 2 / 3, 1 / 3]
    )


def test_a_warm_up_rises_within_the_rounds(at: Callable[..., Place]) -> None:
    """Over half of four rounds; the middles of the two steps of a round are 1/16 and 3/16 of the run, and so on."""
    put = at("{name: StepLR, step_size: 1, gamma: 0.5}", rounds=4, warmup=0.5)
    found = [put(round).trainer.pace(put(round), step, 2) for round in (1, 2, 3) for step in (0, 1)]
    assert found == [1 / 8, 3 / 8, 0.5 * 5 / 8, 0.5 * 7 / 8, 0.25, 0.25]


def test_who_joins_after_the_last_round_trains_at_its_rate(at: Callable[..., Place]) -> None:
    put = at("{name: OneCycleLR, total_steps: 4}", rounds=4)
    assert put(6).trainer.pace(put(6), 0, 1) == put(4).trainer.pace(put(4), 0, 1)


def test_scenarios_with_the_usual_names_stay_as_they_were(tiny: dict[str, Any]) -> None:
    for name in ("constant", "cosine", "step"):
        scenario = load_scenario(tiny, [f"local.schedule={name}"])
        assert scenario.to_dict()["local"]["schedule"] == name
        assert load_scenario(tiny, [f"local.schedule={{name: {name}}}"]).hash == scenario.hash
    other = load_scenario(tiny, ["local.schedule={name: StepLR, step_size: 3}"])
    assert other.to_dict()["local"]["schedule"] == {"name": "StepLR", "step_size": 3, "gamma": 0.1}
    assert load_scenario(other.to_dict()).hash == other.hash


@pytest.mark.slow
def test_bits_are_equal_everywhere_after_a_resume_and_with_more_rounds(tiny: dict[str, Any], tmp_path: Path) -> None:
    changes = ["strategy=fedper", "local.schedule={name: ExponentialLR, gamma: 0.5}", "federation.rounds=4"]
    plain = fedlt.run(tiny, *changes, out=tmp_path / "plain", backend="inline")
    usual = fedlt.run(tiny, "strategy=fedper", "federation.rounds=4", out=tmp_path / "plain", backend="inline")
    assert plain.summary["model_hash"] != usual.summary["model_hash"]

    forked = fedlt.run(tiny, *changes, out=tmp_path / "forked", backend="processes", workers=2)
    assert forked.summary["model_hash"] == plain.summary["model_hash"]
    kept = fedlt.run(tiny, *changes, "resources.checkpoint=1", out=tmp_path / "kept", backend="inline")
    resumed = fedlt.run(tiny, *changes, out=kept.folder.parent, backend="inline", resume_from=2)
    assert resumed.summary["model_hash"] == plain.summary["model_hash"]

    fedlt.run(tiny, *changes, "federation.rounds=2", out=tmp_path / "longer", backend="inline")
    longer = fedlt.run(tiny, *changes, out=tmp_path / "longer", backend="inline")
    assert longer.summary["resumed"] == [2]
    assert longer.summary["model_hash"] == plain.summary["model_hash"]


@pytest.mark.slow
def test_a_schedule_over_the_whole_run_begins_anew_with_more_rounds(tiny: dict[str, Any], tmp_path: Path) -> None:
    fedlt.run(tiny, "local.schedule=PolynomialLR", out=tmp_path, backend="inline")
    longer = fedlt.run(tiny, "local.schedule=PolynomialLR", "federation.rounds=3", out=tmp_path, backend="inline")
    assert "goes_on_from" not in longer.summary


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["local.schedule=ReduceLROnPlateau"],
            "local.schedule: ReduceLROnPlateau waits for a figure to stop improving",
        ),
        (["local.schedule=LambdaLR"], "local.schedule: LambdaLR takes a function"),
        (["local.schedule=SequentialLR"], "local.schedule: SequentialLR is made of other schedules"),
        (["local.schedule=./mine.py:Mine"], "local.schedule: unknown schedule"),
        (["local.optimizer=./mine.py:Mine"], "local.optimizer: PyTorch has no optimiser"),
        (["local.schedule=CosineLR"], "local.schedule: unknown schedule 'CosineLR'; did you mean"),
        (["local.schedule=StepLR"], "local.schedule.step_size: StepLR needs it"),
        (["local.schedule={name: StepLR, step_size: 0}"], "local.schedule.step_size: expected a whole number >= 1"),
        (["local.schedule={name: MultiStepLR, milestones: [2, x]}"], "local.schedule.milestones: expected"),
        (["local.schedule={name: cosine, T_max: 3}"], "local.schedule.T_max: unknown key of cosine"),
        (["local.schedule={name: OneCycleLR, total_steps: 1}"], "local.schedule.total_steps: ends after 1 round"),
        (
            ["local.schedule={name: OneCycleLR, pct_start: 0.5}"],  # of two rounds: PyTorch divides by zero
            "local.schedule: OneCycleLR with these keys has no rates for 2 rounds: ZeroDivisionError",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(tiny: dict[str, Any], tmp_path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        fedlt.run(tiny, *changes, out=tmp_path / "runs", backend="inline")
    assert not (tmp_path / "runs").exists()
