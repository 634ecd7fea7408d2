"""Selections: hand-sized choices, what asking costs, refusals, the same cohorts on every backend and after a crash."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import fedlt
from fedlt.cohorts.by_size import BySize
from fedlt.cohorts.class_balanced import ClassBalanced, imbalance
from fedlt.cohorts.power_of_choice import PowerOfChoice
from fedlt.cohorts.selection import Pool
from fedlt.cohorts.uniform import Uniform
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ClientError, CodeError, ScenarioError
from fedlt.process import seeding
from tests.conftest import PowerCut

HEAD = """
import json
import re
from dataclasses import dataclass
from typing import ClassVar

from fedlt import Selection


"""


class Drawn:
    """A generator whose draws are given."""

    def __init__(self, *draws: list[int]) -> None:
        self.draws = list(draws)

    def choice(self, clients: int, size: int, replace: bool, p: Any = None) -> Any:
        found = self.draws.pop(0)
        assert len(found) == size
        return np.array(found)


def pool(size: int, sizes: list[int], *draws: list[int], counts: Any = None, losses: Any = None) -> Pool:
    rng: Any = Drawn(*draws)
    counts = None if counts is None else np.array(counts)
    return Pool(1, size, np.array(sizes), rng, counts, losses or {})


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(HEAD + text, encoding="utf-8")
    return path


def test_uniform_cohorts_are_those_that_they_always_were() -> None:
    def cohort(round: int) -> list[int]:
        rng = seeding.generator(0, "cohort", round)
        return sorted(Uniform().choose(Pool(round, 3, np.ones(8, np.int64), rng)))

    assert [cohort(round) for round in (1, 2, 3)] == [[0, 1, 2], [0, 1, 2], [4, 5, 6]]


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.75), (2.0, 0.634), (0.5, 0.9)])
def test_clients_come_by_their_sizes_and_the_temperature(temperature: float, share: float) -> None:
    """Of 1 and 3 samples, one client a round: 3 / 4, sqrt 3 / (1 + sqrt 3), 9 / 10."""
    found = [
        BySize(temperature).choose(Pool(round, 1, np.array([1, 3]), np.random.default_rng(round)))[0]
        for round in range(1500)
    ]
    assert np.mean(found) == pytest.approx(share, abs=0.03)


def test_power_of_choice_takes_the_largest_losses_of_those_that_answered() -> None:
    choice = PowerOfChoice(candidates=4)
    asked = choice.ask(pool(2, [5, 5, 5, 5, 5], [4, 0, 3, 1]))
    assert asked == [4, 0, 3, 1]
    assert choice.choose(pool(2, [5] * 5, losses={0: 0.5, 1: 2.0, 3: 0.7, 4: 0.1})) == [1, 3]
    assert choice.choose(pool(2, [5] * 5, losses={4: 0.7, 0: 0.5, 3: 0.7})) == [3, 4]  # equal ones: the smaller number
    assert choice.choose(pool(2, [5] * 5, losses={4: 0.7})) == [4]


def test_candidates_are_drawn_by_their_sizes() -> None:
    sizes = np.array([0, 10, 10, 980])

    def candidates(round: int) -> list[int]:
        return list(PowerOfChoice().ask(Pool(round, 1, sizes, seeding.generator(0, "cohort", round))))

    drawn = [candidates(round) for round in range(200)]
    assert all(len(set(each)) == 2 for each in drawn)
    share = [np.mean([client in each for each in drawn]) for client in range(4)]
    assert share[3] > 0.95
    assert share[0] < 0.2
    assert abs(share[1] - share[2]) < 0.2


def test_the_degree_of_imbalance_is_that_of_fed_cbs() -> None:
    found = imbalance(np.array([[10, 0], [5, 5], [8, 2], [0, 0]]))
    np.testing.assert_allclose(found, [0.5, 0, 0.18, 1])
    assert imbalance(np.array([[9, 0, 0]])) == pytest.approx(4 / 9 + 1 / 9 + 1 / 9)


def test_class_balanced_cohorts_grow_by_the_client_that_balances_best() -> None:
    """Client 2 [0, 10] is joined by 0 [9, 0], not by the balanced 1 [5, 5]; to their [9, 10] it is 1 that fits best."""
    counts = [[9, 0], [5, 5], [0, 10], [2, 9], [8, 1]]
    found = ClassBalanced(candidates=4).choose(pool(3, [9, 10, 10, 11, 9], [2, 1, 3, 0], counts=counts))
    assert found == [2, 0, 1]
    assert ClassBalanced(candidates=3).choose(pool(1, [1] * 5, [4, 1, 2], counts=counts)) == [4]
    twins = [[1, 1], [4, 4], [4, 4], [4, 4]]
    assert ClassBalanced().choose(pool(2, [8] * 4, [3, 1, 2, 0], counts=twins)) == [3, 1]  # of equal ones: first drawn


@pytest.mark.slow
def test_cohorts_are_more_balanced_than_uniform_ones(tiny: dict[str, Any]) -> None:
    federation = federate(load_scenario(tiny))
    counts, sizes = federation.client_counts(), federation.clients.sizes

    def mean(selection: Any) -> float:
        chosen = [selection.choose(Pool(t, 2, sizes, seeding.generator(0, "cohort", t), counts)) for t in range(50)]
        return float(np.mean([imbalance(counts[list(each)].sum(axis=0)[None]) for each in chosen]))

    assert mean(ClassBalanced(candidates=5)) < 0.8 * mean(Uniform())


TOLD = """
@dataclass(frozen=True)
class Told(Selection):
    needs: ClassVar[tuple[str, ...]] = ("local_loss",)

    file: str = ""

    def ask(self, pool):
        return [4, 1, 5]

    def choose(self, pool):
        if pool.round == 2:
            with open(self.file, "w") as file:
                json.dump(pool.losses, file)
        return [0, 2]
"""


@pytest.mark.slow
def test_losses_are_those_of_the_generic_model_on_the_clients_own_samples(tiny: dict[str, Any], tmp_path: Path) -> None:
    """An own selection writes down what it is told in round 2; the model of round 1 is asked again by hand."""
    path, file = written(tmp_path, TOLD), tmp_path / "losses.json"
    chosen = f"federation.selection={{name: '{path}:Told', file: '{file}'}}"
    changes = [chosen, "evaluation.batch_size=7"]
    fedlt.run(tiny, *changes, "federation.rounds=2", out=tmp_path / "two", backend="inline")
    model = fedlt.run(tiny, *changes, "federation.rounds=1", out=tmp_path / "one", backend="inline").model()
    federation = federate(load_scenario(tiny))
    told = json.loads(file.read_text())
    assert list(told) == ["1", "4", "5"]
    for client, loss in told.items():
        rows = federation.clients[int(client)]
        logits = model.logits(federation.x_train[rows])
        assert loss == pytest.approx(float(cross_entropy(logits, torch.from_numpy(federation.y_train[rows]))), abs=1e-5)


@pytest.mark.slow
def test_what_asking_costs_is_in_the_rounds_row(tiny: dict[str, Any], tmp_path: Path) -> None:
    uniform = fedlt.run(tiny, out=tmp_path, backend="inline")
    few = [*("federation.participation=0.3",), "federation.selection={name: power_of_choice, candidates: 6}"]
    run = fedlt.run(tiny, *few, out=tmp_path, backend="inline")
    sizes = federate(load_scenario(tiny)).clients.sizes
    model = 4 * run.summary["parameters"]
    assert run.rounds["clients"].tolist() == [2, 2]
    assert run.rounds["forward_samples"].tolist() == [sizes.sum()] * 2
    assert run.rounds["bytes_down"].tolist() == [6 * model] * 2  # two of the six have the model already when they train
    assert run.rounds["bytes_up"].tolist() == [2 * model + 6 * 8] * 2
    assert run.summary["needs"] == ["local_loss"]
    assert uniform.rounds["forward_samples"].tolist() == [0, 0]

    balanced = fedlt.run(tiny, *few[:1], "federation.selection=class_balanced", out=tmp_path, backend="inline")
    assert balanced.rounds["bytes_up"].tolist() == [2 * model + 6 * 10 * 8, 2 * model]
    assert balanced.summary["needs"] == ["class_counts"]


OWN = """
@dataclass(frozen=True)
class Largest(Selection):
    def choose(self, pool):
        return pool.sizes.argsort()[-pool.size :]
"""
KINDS = {
    "uniform": "uniform",
    "power_of_choice": "{name: power_of_choice, candidates: 5}",
    "class_balanced": "{name: class_balanced, candidates: 4}",
    "own": "",
}


@pytest.mark.grid
@pytest.mark.usefixtures("ray_workers")
@pytest.mark.parametrize("kind", KINDS)
def test_cohorts_are_the_same_on_every_backend_and_after_a_crash(
    tiny: dict[str, Any], tmp_path: Path, power_cut: PowerCut, kind: str
) -> None:
    chosen = KINDS[kind] or f"{written(tmp_path, OWN)}:Largest"
    changes = [f"federation.selection={chosen}", "federation.rounds=4", "resources.checkpoint=1", "strategy=scaffold"]
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    plain = fedlt.run(tiny, *changes[1:], out=tmp_path / "plain", backend="inline")
    assert (whole.summary["model_hash"] == plain.summary["model_hash"]) == (kind == "uniform")
    assert (whole.summary["scenario_hash"] == plain.summary["scenario_hash"]) == (kind == "uniform")
    for backend in ("processes", "ray"):
        run = fedlt.run(tiny, *changes, out=tmp_path / backend, backend=backend, workers=2)
        assert run.summary["model_hash"] == whole.summary["model_hash"], backend

    with power_cut(2):
        fedlt.run(tiny, *changes, out=tmp_path / "cut", backend="inline")
    again = fedlt.run(tiny, *changes, out=tmp_path / "cut", backend="processes", workers=2)
    assert again.summary["resumed"] == [2]
    assert again.summary["model_hash"] == whole.summary["model_hash"]
    assert again.rounds["bytes_down"].tolist() == whole.rounds["bytes_down"].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["federation.selection=power_of_choise"], "did you mean 'power_of_choice'"),
        (["federation.selection={name: power_of_choice, candidates: 3}"], "cohort of 3; take 4 to 6"),
        (["federation.selection={name: class_balanced, candidates: 9}"], "there are 6 clients; take 6 at most"),
        (["federation.selection=class_balanced", "federation.participation=1"], "lower federation.participation"),
        (["federation.selection=class_balanced", "strategy=centralized"], "one site.*take uniform"),
        (["federation.selection=power_of_choice", "strategy=local"], "loss of a generic model, and local has none"),
        (
            ["federation.selection=class_balanced", "federation.links=[{name: dp, clip: 1.0, noise: 0.0}]"],
            "federation.selection=uniform",
        ),
    ],
)
@pytest.mark.slow
def test_what_has_no_meaning_is_refused_with_the_remedy(
    tiny: dict[str, Any], tmp_path: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        fedlt.run(tiny, *changes, out=tmp_path, backend="inline")


BAD = """
@dataclass(frozen=True)
class TooMany(Selection):
    def choose(self, pool):
        return range(pool.clients)


@dataclass(frozen=True)
class Twice(Selection):
    def choose(self, pool):
        return [1, 1]


@dataclass(frozen=True)
class Beyond(Selection):
    def choose(self, pool):
        return [6]


@dataclass(frozen=True)
class Nobody(Selection):
    def choose(self, pool):
        return []


@dataclass(frozen=True)
class Mask(Selection):
    def choose(self, pool):
        return pool.sizes / 2


@dataclass(frozen=True)
class Asks(Selection):
    def ask(self, pool):
        return [0]

    def choose(self, pool):
        return [0]


@dataclass(frozen=True)
class Edits(Selection):
    def choose(self, pool):
        pool.sizes[0] = 1
        return [0]


@dataclass(frozen=True)
class Needs(Selection):
    needs: ClassVar[tuple[str, ...]] = ("class_count",)

    def choose(self, pool):
        return [0]


@dataclass(frozen=True)
class Other(Selection):
    def choose(self, clients, size):
        return [0]


@dataclass(frozen=True)
class Bare:
    pass
"""


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("TooMany", CodeError, r"TooMany.choose gave 6 clients; give 1 to 3 of them"),
        ("Twice", CodeError, r"Twice.choose gave \[1, 1\]; give a list of different whole numbers in 0..5"),
        ("Beyond", CodeError, r"Beyond.choose gave \[6\]"),
        ("Nobody", CodeError, r"Nobody.choose gave nobody"),
        ("Mask", CodeError, r"Mask.choose gave an array of shape \[6\]"),
        ("Asks", CodeError, r"(?s)Asks.ask names clients whose loss .*local_loss"),
        ("Edits", CodeError, r"read-only.*in Edits.choose; mine.py, line"),
        ("Needs", ScenarioError, r"federation.selection: Needs: needs has no word 'class_count'; did you mean"),
        ("Other", ScenarioError, r"write def choose\(self, pool\)"),
        ("Bare", ScenarioError, r"Bare is no subclass of fedlt.Selection"),
    ],
)
@pytest.mark.slow
def test_a_bad_selection_is_told_by_name(
    tiny: dict[str, Any], tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    path = written(tmp_path, BAD)
    with pytest.raises(error, match=message):
        fedlt.run(tiny, f"federation.selection={path}:{name}", out=tmp_path / "runs", backend="inline")


FAILING = """
from fedlt import Strategy


@dataclass(frozen=True)
class Fails(Strategy):
    def generic(self, server, x):
        if len(x) == SIZE:
            raise RuntimeError("no prediction")
        return super().generic(server, x)
"""


@pytest.mark.slow
def test_a_client_whose_loss_cannot_be_told_is_named_or_left_out(tiny: dict[str, Any], tmp_path: Path) -> None:
    sizes = federate(load_scenario(tiny)).clients.sizes.tolist()
    assert sizes.count(sizes[4]) == 1, "the strategy knows client 4 by the number of its samples"
    path = written(tmp_path, FAILING.replace("SIZE", str(sizes[4])))
    changes = [f"strategy={path}:Fails", "federation.selection=power_of_choice", "evaluation.batch_size=500"]
    with pytest.raises(ClientError, match=r"client 4.*round 1.*no prediction"):
        fedlt.run(tiny, *changes, out=tmp_path / "runs", backend="inline")

    skipped = fedlt.run(tiny, *changes, "federation.on_error=skip", out=tmp_path / "skipped", backend="inline")
    log = (skipped.folder / "log.txt").read_text(encoding="utf-8")
    assert "client 4 is left out of the selection for round 2: " in log
    assert skipped.rounds["skipped"].tolist() == [0, 0]


@pytest.mark.slow
def test_a_selection_of_ones_own_is_known_by_its_content(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    one, other = written(tmp_path, OWN), written(tmp_path / "copy", OWN)
    hashes = [load_scenario(tiny, [f"federation.selection={path}:Largest"]).hash for path in (one, other)]
    assert hashes[0] == hashes[1] != load_scenario(tiny).hash
    other.write_text(other.read_text() + "\n# edited\n")
    assert load_scenario(tiny, [f"federation.selection={other}:Largest"]).hash != hashes[0]
    assert load_scenario(tiny, ["federation.selection=uniform"]).hash == load_scenario(tiny).hash


@pytest.mark.slow
def test_the_example_of_the_page_runs(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "own-selection.md"
    source, *_ = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "largest.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run = fedlt.run(tiny, "federation.selection=./largest.py:Largest", out="runs", backend="inline")
    sizes = federate(load_scenario(tiny)).clients.sizes
    assert run.rounds["samples"].tolist() == [sum(sorted(sizes)[-3:])] * 2  # all six are candidates


@pytest.mark.slow
def test_a_label_flipper_tells_the_loss_of_what_it_learns(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Clients 0 and 2 train, so the model is the same; of those that are asked, 1 and 4 have mirrored labels."""
    path, told = written(tmp_path, TOLD), {}
    for kind, changes in (("honest", []), ("flipped", ["federation.attack={kind: label_flip, clients: [1, 4]}"])):
        file = tmp_path / f"{kind}.json"
        chosen = f"federation.selection={{name: '{path}:Told', file: '{file}'}}"
        fedlt.run(tiny, chosen, *changes, out=tmp_path / kind, backend="inline")
        told[kind] = json.loads(file.read_text())
    assert told["flipped"]["5"] == told["honest"]["5"]
    assert told["flipped"]["1"] != told["honest"]["1"]
    assert told["flipped"]["4"] != told["honest"]["4"]
