"""Overrides as dictionaries are those that a command line takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import fedlt
from fedlt.config.overrides import as_text, as_words
from fedlt.errors import ScenarioError
from fedlt.sweeps.grid import plan


class Net(torch.nn.Module):
    """A model of a user's."""


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.1, 1e-5, 1e22, float("inf"), -float("inf"), "fedavg", "0.1", ".5", "1e3", "1_000", "0x10", "nan",
     ".inf", "null", "yes", "~", "", "a b", "x, y", "a: b", "1:30", "2026-01-01", "#1", "{a", 'a\'b"c\\n', "ü",
     "${seed}", "./mine.py:Mine", "~/mine.py:Mine", "/a b/c.py:X", [9, 3, 1], [[1.5], ["a,b"]],
     {"name": "fedprox", "mu": 0.1}],
)  # fmt: skip
def test_a_value_is_read_back_as_it_was(value: Any) -> None:
    read: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"v={as_text(value)}"]))
    assert read["v"] == value and type(read["v"]) is type(value)


def test_numbers_of_numpy_and_paths_are_numbers_and_texts() -> None:
    numbers = [np.float32(0.5), np.float64(0.1), np.int64(3), np.bool_(True), *np.logspace(-2, -1, 2)]
    assert [as_text(number) for number in numbers] == ["0.5", "0.1", "3", "true", "0.01", "0.1"]
    assert [as_text(Path("mine.npz")), as_text(Path("/a/mine.npz"))] == ["./mine.npz", "/a/mine.npz"]


def test_a_dictionary_is_so_many_words() -> None:
    changes = {"strategy": "fedprox", "strategy.mu": 0.1, "federation": {"rounds": 5, "partition": {"alpha": 2.0}}}
    words = ["strategy=fedprox", "strategy.mu=0.1", "federation.rounds=5", "federation.partition.alpha=2.0"]
    assert as_words([changes, "~local.augment"]) == [*words, "~local.augment"]
    assert as_words([{"strategy": {"name": "fedprox", "mu": 0.1}}]) == ["strategy={name: fedprox, mu: 0.1}"]
    assert as_words([["local.lr=0.1", {"seed": 3}]]) == ["local.lr=0.1", "seed=3"]


def test_a_sweep_takes_the_values_of_a_list_in_turn() -> None:
    changes = {"strategy": ["fedavg", {"name": "fedprox", "mu": 0.1}], "data.longtail.counts": [[9, 3, 1]]}
    words = ["strategy=fedavg,{name: fedprox, mu: 0.1}", "data.longtail.counts=[9, 3, 1]", "seed=0,1"]
    assert as_words([changes, {"seed": range(2)}], several=True) == words
    jobs = plan("digits_lt", as_words([{"strategy": ["fedavg", "fedprox"], "local": {"lr": [0.1, 0.2]}}], True))
    assert [job.label for job in jobs] == [
        "strategy=fedavg local.lr=0.1", "strategy=fedavg local.lr=0.2",
        "strategy=fedprox local.lr=0.1", "strategy=fedprox local.lr=0.2",
    ]  # fmt: skip


def test_all_three_forms_are_one_scenario() -> None:
    words = fedlt.load_scenario("digits_lt", "strategy=fedprox", "strategy.mu=0.5", "federation.rounds=5", "seed=2")
    keys = fedlt.load_scenario(
        "digits_lt", {"strategy": "fedprox", "strategy.mu": 0.5}, {"federation.rounds": 5}, seed=2
    )
    mixed = fedlt.load_scenario("digits_lt", "strategy=fedprox", {"strategy.mu": 0.5}, federation={"rounds": 5}, seed=2)
    assert words.hash == keys.hash == mixed.hash
    assert words.federation.clients == mixed.federation.clients == 20  # a section's other keys stay as they are


def test_what_no_scenario_holds_is_named_with_its_key() -> None:
    with pytest.raises(ScenarioError) as caught:
        as_words([{"strategy": object(), "local.lr": np.zeros(3)}, {3: 1}, {"~local.augment": None}])
    assert [problem.key for problem in caught.value.problems] == ["strategy", "local.lr", "3", "~local.augment"]
    assert "got an object of numpy.ndarray" in caught.value.problems[1].message
    with pytest.raises(ScenarioError, match=r"model: expected a class, got an object of Net, .*; give Net itself, and"):
        as_words([{"model": Net()}])
    with pytest.raises(ScenarioError, match="an empty list"):
        as_words([{"strategy": []}], several=True)
    with pytest.raises(ScenarioError, match=r"expected a number, got '0\.1'"):
        fedlt.load_scenario("digits_lt", {"strategy": "fedprox", "strategy.mu": "0.1"})
    with pytest.raises(ScenarioError, match="rounds: unknown key"):
        fedlt.load_scenario("digits_lt", rounds=5)  # type: ignore[call-arg]
