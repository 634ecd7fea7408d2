"""On the default scenario, made small, every strategy and every learner learns: none ends where guessing would."""

from __future__ import annotations

from pathlib import Path

import pytest

import fedlt
from fedlt import catalog

# Two clients take as many steps one after the other as twenty do in many more rounds: runs of half a second learn.
SMALL = (
    "federation={clients: 2, participation: 1.0, rounds: 4, empty: redraw}",
    "federation.partition={name: dirichlet_per_class, alpha: 0.5}",
    "evaluation.every=4",
)
FURTHER = {
    "creff": ("strategy.features=10",),  # a second instead of ten
    "sbcl": ("federation.rounds=5", "evaluation.every=5"),  # its head is trained in the last fifth
    "pseudo_labels": ("data.unlabelled.hidden=0.5",),
}
CHANCE = 0.1  # ten digits, equally many of each in the test set


def accuracy(tmp_path: Path, *overrides: str) -> float:
    """Of the generic model, or of the personal ones where there is none."""
    final = fedlt.run("digits_lt", *SMALL, *overrides, out=tmp_path, backend="inline").final
    return final.get("generic/accuracy", final["personal/accuracy"])


@pytest.mark.parametrize("name", [name for name in catalog.names("strategy") if name != "fedbn"])
def test_no_strategy_ends_at_chance(tmp_path: Path, name: str) -> None:
    """FedBN's own model has normalisation layers, which the scenario's has not."""
    assert accuracy(tmp_path, f"strategy={name}", *FURTHER.get(name, ())) > 2 * CHANCE


@pytest.mark.parametrize("name", catalog.names("learner"))
def test_no_learner_ends_at_chance_at_one_site(tmp_path: Path, name: str) -> None:
    assert accuracy(tmp_path, "strategy=centralized", f"learner={name}", *FURTHER.get(name, ())) > 2 * CHANCE


@pytest.mark.parametrize("name", ["ldam", "rcal", "sbcl", "tlc"])
def test_no_learner_ends_at_chance_inside_fedavg(tmp_path: Path, name: str) -> None:
    """Those that came out worst there when clients had momentum."""
    assert accuracy(tmp_path, "strategy=fedavg", f"learner={name}", *FURTHER.get(name, ())) > 2 * CHANCE
