"""Keys of a scenario: all of them by name, and which one a person meant."""

from __future__ import annotations

from typing import Any

import pytest

from fedlt.config import keys
from fedlt.config.scenario import load_scenario
from fedlt.errors import ScenarioError


def told(*overrides: str) -> str:
    with pytest.raises(ScenarioError) as error:
        load_scenario("digits_lt", overrides)
    return str(error.value)


def test_every_key_has_its_full_name_and_its_comment() -> None:
    found = {key.name: key for key in keys.scenario_keys()}
    assert found["local.lr"].default == 0.03
    assert found["data.longtail.imbalance_factor"].doc == "largest class / smallest class; null: 100"
    assert "name" not in found
    assert keys.section_names()["federation.late"].startswith("Sampled clients whose answers arrive rounds later")


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("rounds=5", "rounds: unknown key; did you mean federation.rounds=5 or federation.late.rounds=5?"),
        ("lr=0.1", "lr: unknown key; did you mean local.lr=0.1?"),
        ("alpha=0.1", "alpha: unknown key; did you mean federation.partition.alpha=0.1?"),
        ("imbalance=50", "did you mean data.longtail.imbalance_factor=50 or data.unlabelled.imbalance_factor=50?"),
        ("num_clients=3", "did you mean federation.clients=3 or evaluation.clients=3 or federation.attack.clients=3?"),
        ("learning_rate=1", "did you mean local.lr=1?"),
        ("nesterov=true", "did you mean local.nesterov=true?"),
        ("federation.round=5", "federation.round: unknown key; did you mean federation.rounds=5?"),
        ("loc.lr=3", "did you mean local.lr=3?"),
        ("optimiser=Adam", "did you mean local.optimizer=Adam?"),
        ("longtail=none", "did you mean data.longtail=none?"),
        ("partition.alpha=0.1", "partition: unknown key; did you mean federation.partition.alpha=0.1?"),
        ("late=3", "late: unknown key; its keys are federation.late.chance, federation.late.rounds, federation.late"),
        ("mu=0.1", "mu: unknown key; did you mean strategy.mu=0.1 with strategy=fedprox or moon?"),
        ("strategy.mu=0.1", "strategy.mu: unknown key of fedavg, which has none; it is a key of fedprox and moon"),
        ("qqq=1", "qqq: unknown key; known: data, evaluation, federation"),
    ],
)
def test_an_unknown_key_is_answered_by_those_that_are_meant(override: str, meant: str) -> None:
    assert meant in told(override)


def test_keys_of_the_chosen_components_count() -> None:
    assert keys.meant("mu", 1, {"strategy": {"name": "fedprox"}}) == ["strategy.mu"]
    assert keys.meant("mu", 1, {"strategy": "fedavg"}) == []
    assert keys.meant("mu", 1, {"strategy": "nonsense"}) == []
    assert keys.meant("alpha", 1, {"federation": {"partition": "iid"}}) == []


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (5, ["k=5"]),
        ("none", ["k=none"]),
        (None, ["k=null"]),
        ([1, 2], ["k=[1, 2]"]),
        ({"a": 1, "b": {"c": True}}, ["k.a=1", "k.b.c=true"]),
    ],
)
def test_an_assignment_is_written_as_the_command_line_takes_it(value: Any, written: list[str]) -> None:
    assert list(keys.assignments("k", value)) == written


def test_a_missing_key_tells_what_it_takes() -> None:
    assert "local.schedule.step_size: StepLR needs it: a whole number >= 1" in told("local.schedule=StepLR")
    found = told("federation.partition=given", "federation.clients=null")
    assert "federation.partition.file: given needs it: a text; .csv or .tsv" in found


def test_a_components_name_in_the_scenarios_place_is_told() -> None:
    with pytest.raises(ScenarioError, match=r"no scenario 'fedprox'; did you mean strategy=fedprox\?"):
        load_scenario("fedprox")
