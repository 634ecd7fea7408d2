"""The check of partitions: the built-in ones pass, and every kind of breach is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import fedlt
from fedlt.checks.partitions import CHECKS, made_up
from fedlt.checks.suite import ConformanceError
from fedlt.config import catalog
from fedlt.errors import Problem, ScenarioError


@pytest.mark.slow
@pytest.mark.parametrize("name", catalog.names("partition"))
def test_built_in_partitions_pass(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / "owner.npy", np.arange(400) % 20)
    needed: dict[str, dict[str, Any]] = {
        "natural": {"column": "site"},
        "given": {"file": str(tmp_path / "owner.npy")},
        "dirichlet_extended": {"min_size": 1},  # two of the rare classes are fewer than ten samples
    }
    fedlt.check_partition(name, **needed.get(name, {}))


def test_a_users_own_file_is_checked(own_file: Callable[[str], Path]) -> None:
    path = own_file(
        "@dataclass(frozen=True)\nclass Blocks:\n    step: int = 1\n\n"
        "    def assign(self, labels, groups, clients, seed):\n"
        "        return (torch.arange(len(labels)) // self.step % clients).numpy()\n"
    )
    fedlt.check_partition(f"{path}:Blocks", step=2)


def test_the_labels_are_long_tailed_and_complete() -> None:
    labels, sites = made_up()
    counts = np.bincount(labels)
    assert (len(counts), counts.sum(), len(set(sites))) == (10, 400, 20)
    assert counts.min() >= 1 and counts.max() > 8 * counts.min()


# Breaches, one class each ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneTooMany:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        return np.arange(len(labels)) % (clients + 1)


@dataclass(frozen=True)
class RefusesAll:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        raise ScenarioError(Problem("federation.partition", f"{clients} clients are not what it likes"))


@dataclass(frozen=True)
class RefusesThree:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        if clients == 3:
            raise ScenarioError(Problem("federation.partition", "three are not what it likes"))
        return np.arange(len(labels)) % clients


@dataclass(frozen=True)
class ShiftsTheLabels:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        labels %= 9
        return labels % clients


@dataclass(frozen=True)
class SortsTheSites:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        groups["site"].sort()
        return labels % clients


@dataclass(frozen=True)
class ShiftsTheRows:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int, source: Any) -> Any:
        source.rows[:] += 1
        return labels % clients


@dataclass(frozen=True)
class LeavesOut:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        return np.arange(len(labels)) % (clients + 1) - 1


@dataclass(frozen=True)
class LosesAClass(LeavesOut):
    leaves_out: ClassVar[bool] = True

    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        return np.where(labels == 9, -1, np.arange(len(labels)) % clients)


@dataclass(frozen=True)
class Remembers:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        object.__setattr__(self, "last", clients)
        return labels % clients


@dataclass(frozen=True)
class DrawsFromNumPy:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        return np.random.randint(clients, size=len(labels))


@dataclass(frozen=True)
class GivesAllToTheFirst:
    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        return labels * 0


@dataclass(frozen=True)
class SeldomLucky:
    """Clients without a sample, but for one seed in four."""

    def assign(self, labels: Any, groups: Any, clients: int, seed: int) -> Any:
        return np.arange(len(labels)) % (clients if seed % 4 == 3 else 2)


BREACHES: list[tuple[type, str, str]] = [
    (OneTooMany, "assigns", "beyond the 20"),
    (LeavesOut, "assigns", r"gave 20 samples to nobody \(below 0\)"),
    (LosesAClass, "assigns", r"leaves 1 class \(class 9 first\) to nobody"),
    (RefusesAll, "assigns", "20 clients are not what it likes; 3 clients are not"),
    (GivesAllToTheFirst, "filled", "19 of 20 clients get no sample, whatever the seed; 2 of 3 clients get none"),
    (ShiftsTheLabels, "borrowed", "changed the labels"),
    (SortsTheSites, "borrowed", "changed the group column"),
    (ShiftsTheRows, "borrowed", "changed the rows of the source"),
    (Remembers, "hidden", "changed self.last"),
    (DrawsFromNumPy, "equal", "of 400 samples went to another client"),
]


@pytest.mark.parametrize(("broken", "check", "found"), BREACHES, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_partition_is_caught(broken: type, check: str, found: str) -> None:
    with pytest.raises(
        ConformanceError, match=f"(?s){broken.__name__} breaks the contract of partitions.*{found}"
    ) as caught:
        fedlt.check_partition(broken)
    assert {name for name, _ in caught.value.problems} == {check}


def test_a_number_of_clients_may_be_refused() -> None:
    fedlt.check_partition(RefusesThree)


def test_some_seeds_may_leave_clients_empty() -> None:
    fedlt.check_partition(SeldomLucky)


def test_every_check_is_seen_to_fail() -> None:
    assert {check for _, check, _ in BREACHES} == set(CHECKS)
