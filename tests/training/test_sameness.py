"""Which runs train the very same model is found in what their hooks reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor

from fedlt.config.component import Choice, Component, Made
from fedlt.config.scenario import load_scenario
from fedlt.data.site import Batch
from fedlt.strategy import Client, Server, Strategy
from fedlt.training.sameness import training_hash


def found(*overrides: str, strategy: Strategy | None = None) -> str:
    """The hash of digits_lt with these overrides; strategy: in place of the scenario's."""
    scenario = load_scenario("digits_lt", overrides)
    chosen = scenario.strategy.create() if strategy is None else strategy
    if strategy is not None:
        component = Made.of(Component("strategy", "mine", "", "", ()), lambda options: strategy)
        object.__setattr__(scenario, "strategy", Choice("mine", {}, component))
    return training_hash(scenario, chosen, scenario.learner.create())


PLAIN = found()


@pytest.mark.parametrize(
    "overrides",
    [
        ["strategy=fedavg_posthoc"],
        ["strategy=fedavg_posthoc", "strategy.tau=0.5"],
        ["strategy=fednpc"],
        ["strategy=knnper", "strategy.mix=0.2"],
        ["strategy=fedavg_ft"],
        ["strategy=fedavg_ft", "strategy.tune=head"],
        ["learner=tau_norm"],
        ["evaluation.every=3", "evaluation.clients=4"],
        ["resources.workers=3"],
    ],
    ids=" ".join,
)
def test_what_is_for_tests_only_does_not_count(overrides: list[str]) -> None:
    assert found(*overrides) == PLAIN


@pytest.mark.parametrize(
    "overrides",
    [
        ["strategy=fedprox"],
        ["strategy=fedper"],
        ["strategy=fedavg_la"],
        ["strategy=flower:FedAvg"],
        ["strategy=centralized"],
        ["learner=focal"],
        ["learner=ncm"],  # class sums are buffers: they travel, and are saved
        ["local.lr=0.04"],
        ["seed=1"],
        ["model.width=99"],
        ["data.validation=0.2"],
        ["federation.rounds=99"],
        ["resources.precision=bfloat16"],
    ],
    ids=" ".join,
)
def test_what_training_reads_counts(overrides: list[str]) -> None:
    assert found(*overrides) != PLAIN


def test_a_field_counts_where_training_reads_it() -> None:
    assert found("strategy=fedprox", "strategy.mu=0.1") != found("strategy=fedprox", "strategy.mu=0.2")


# Classes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predicts(Strategy):
    scale: float = 1.0

    def generic(self, server: Server, x: Tensor) -> Any:
        return self.scale * server.model(x)


@dataclass(frozen=True)
class Trains(Strategy):
    scale: float = 1.0

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return self.scaled(super().loss(client, batch))

    def scaled(self, value: Tensor) -> Tensor:
        return self.scale * value


@dataclass(frozen=True)
class TrainsByAnother(Trains):
    def scaled(self, value: Tensor) -> Tensor:
        return 2 * value


def scaled_by(strategy: Any, value: Tensor) -> Tensor:
    """Reads whatever it likes of a strategy."""
    return strategy.scale * value  # type: ignore[no-any-return]


@dataclass(frozen=True)
class HandsItselfOn(Strategy):
    scale: float = 1.0

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return scaled_by(self, super().loss(client, batch))


@dataclass(frozen=True)
class HandsItselfOnAndTests(HandsItselfOn):
    def generic(self, server: Server, x: Tensor) -> Any:
        return server.model(x)


@dataclass(frozen=True)
class Constant(Strategy):
    scale: ClassVar[float] = 1.0

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return self.scale * super().loss(client, batch)


@dataclass(frozen=True)
class AnotherConstant(Constant):
    scale: ClassVar[float] = 2.0


def times(scale: float) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    def decorate(hook: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @wraps(hook)
        def scaled(self: Strategy, client: Client, batch: Batch) -> Tensor:
            return scale * hook(self, client, batch)

        return scaled

    return decorate


def decorated(scale: float) -> Strategy:
    @dataclass(frozen=True)
    class Mine(Strategy):
        loss = times(scale)(Strategy.loss)

    return Mine()


@dataclass(frozen=True)
class Distils(Strategy):
    """Its loss asks for a prediction, so what predicts belongs to its training."""

    scale: float = 1.0

    def loss(self, client: Client, batch: Batch) -> Tensor:
        logits: Any = client.learner.predict(client.model, batch.x)
        return super().loss(client, batch) + logits.mean()


def test_a_hook_that_is_overridden_breaks_the_sharing() -> None:
    assert found(strategy=Predicts()) == found(strategy=Predicts(scale=2.0)) == found(strategy=Strategy()) == PLAIN
    assert len({found(strategy=each) for each in (Strategy(), Trains(), Trains(2.0), TrainsByAnother())}) == 4


def test_where_self_goes_elsewhere_the_class_and_all_fields_count() -> None:
    parts = HandsItselfOn(), HandsItselfOn(2.0), HandsItselfOnAndTests()
    assert len({found(strategy=part) for part in parts}) == 3


def test_class_variables_and_what_a_decorator_encloses_count() -> None:
    assert found(strategy=Constant()) != found(strategy=AnotherConstant())
    assert found(strategy=decorated(1.0)) != found(strategy=decorated(2.0))


def test_a_prediction_counts_where_training_asks_for_it() -> None:
    assert found("learner=tau_norm", strategy=Distils()) != found("learner=cross_entropy", strategy=Distils())


def test_a_file_counts_where_training_reaches_it(own_file: Callable[..., Path]) -> None:
    source = """
@dataclass(frozen=True)
class Predicts(Strategy):
    def generic(self, server, x):
        return {number} * server.model(x)


@dataclass(frozen=True)
class Trains(Strategy):
    def loss(self, client, batch):
        return {number} * super().loss(client, batch)
"""
    hashes: dict[str, set[str]] = {"Predicts": set(), "Trains": set()}
    for number in (1, 2):
        path = own_file(source.format(number=number))
        for name, held in hashes.items():
            held.add(found(f"strategy={path}:{name}"))
    assert hashes["Predicts"] == {PLAIN}
    assert len(hashes["Trains"]) == 2
