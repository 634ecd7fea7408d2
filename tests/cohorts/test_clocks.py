"""Clocks: hand-sized seconds, what a deadline drops, equal on every backend and after a crash, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.cohorts.clock import Clock, Closing, Devices, Spent, closing
from fedlt.cohorts.listed import Listed
from fedlt.cohorts.log_normal import LogNormal
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.errors import ScenarioError
from tests.conftest import PowerCut

SIZES = np.array([10, 20, 30])
SPEEDS = "samples: [100, 50, 200, 25, 100, 400]"


class Plain(Clock):
    def devices(self, sizes: Any, seed: int) -> Devices:
        raise NotImplementedError


def test_a_device_receives_computes_and_sends() -> None:
    devices = Devices(np.array([10.0, 100.0]), np.array([1e3, 1e3]), np.array([500.0, 250.0]))
    assert devices.seconds(0, Spent(down=2000, backward=50, forward=30, up=1000)) == pytest.approx(2 + 5 + 1 + 2)
    assert devices.seconds(1, Spent(down=2000, backward=50, forward=30, up=1000)) == pytest.approx(2 + 0.5 + 0.1 + 4)


ANSWERS = {3: 4.0, 0: 9.0, 5: 1.0, 2: 4.0}


@pytest.mark.parametrize(
    ("options", "asked", "wanted", "expected"),
    [
        ({}, 4, 4, Closing(9.0, frozenset())),
        ({}, 6, 4, Closing(9.0, frozenset())),  # two never answer, and nobody knows how long to wait for them
        ({"over": 0.3}, 4, 3, Closing(4.0, frozenset({0}))),
        ({"over": 1.0}, 4, 2, Closing(4.0, frozenset({0, 3}))),  # of equally slow ones, the smaller number is in time
        ({"deadline": 4.0}, 4, 4, Closing(4.0, frozenset({0}))),
        ({"deadline": 10.0}, 4, 4, Closing(9.0, frozenset())),
        ({"deadline": 10.0}, 5, 5, Closing(10.0, frozenset())),  # one never answers
        ({"deadline": 10.0, "over": 0.3}, 5, 4, Closing(9.0, frozenset())),  # but was not needed
        ({"deadline": 0.5}, 4, 4, Closing(0.5, frozenset({0, 2, 3, 5}))),
    ],
)
def test_a_round_closes_with_the_last_answer_that_is_wanted_or_at_the_deadline(
    options: dict[str, float], asked: int, wanted: int, expected: Closing
) -> None:
    assert closing(Plain(**options), ANSWERS, asked, wanted) == expected


def test_nobody_answers() -> None:
    assert closing(Plain(), {}, 3, 3) == Closing(0.0, frozenset())
    assert closing(Plain(deadline=2.0), {}, 3, 3) == Closing(2.0, frozenset())


def test_log_normal_devices_spread_about_their_median() -> None:
    sizes = np.ones(4000, np.int64)
    found = LogNormal(samples=50.0, spread=0.5, link_spread=0.0).devices(sizes, seed=3)
    assert np.median(found.samples) == pytest.approx(50, rel=0.05)
    assert np.log(found.samples).std() == pytest.approx(0.5, rel=0.05)
    assert set(found.down) == {1e6}
    assert set(found.up) == {2.5e5}
    fewer = LogNormal(samples=50.0, spread=0.5).devices(sizes[:7], seed=3)
    np.testing.assert_array_equal(fewer.samples, found.samples[:7])
    assert (LogNormal().devices(sizes, seed=4).samples != LogNormal().devices(sizes, seed=3).samples).all()
    np.testing.assert_array_equal(LogNormal(seed=4).devices(sizes, 3).up, LogNormal(seed=4).devices(sizes, 5).up)


def test_listed_devices_are_those_of_the_list() -> None:
    found = Listed(samples=[1.0, 2.0, 3.0], down=8.0).devices(SIZES, seed=0)
    assert (found.samples.tolist(), found.down.tolist()) == ([1.0, 2.0, 3.0], [8.0] * 3)


@pytest.mark.slow
def test_a_rounds_seconds_follow_from_what_clients_did(tiny: dict[str, Any], tmp_path: Path) -> None:
    """By hand: every client passes its samples twice, and the model travels both ways."""
    clock = f"federation.clock={{name: listed, {SPEEDS}, down: 1000, up: 500}}"
    run = fedlt.run(tiny, clock, "federation.participation=1", "local.epochs=2", out=tmp_path, backend="inline")
    plain = fedlt.run(tiny, "federation.participation=1", "local.epochs=2", out=tmp_path, backend="inline")
    sizes, model = federate(load_scenario(tiny)).clients.sizes, 4 * run.summary["parameters"]
    slowest = max(model / 1000 + 2 * sizes / np.array([100, 50, 200, 25, 100, 400]) + model / 500)
    assert run.rounds["simulated_seconds"].tolist() == pytest.approx([slowest] * 2)
    assert run.rounds["stragglers"].tolist() == [0, 0]
    assert "simulated_seconds" not in plain.rounds
    assert run.summary["model_hash"] == plain.summary["model_hash"], "a clock without a deadline changes no model"
    assert run.summary["scenario_hash"] != plain.summary["scenario_hash"]


@pytest.mark.slow
def test_clients_trained_at_once_share_what_they_passed(tiny: dict[str, Any], tmp_path: Path) -> None:
    changes = ["federation.clock=listed", "federation.partition=iid", "federation.block=6"]
    one, many = (
        fedlt.run(tiny, *changes, f"local.together={number}", out=tmp_path, backend="inline") for number in (1, 3)
    )
    assert many.rounds["simulated_seconds"].tolist() == pytest.approx(one.rounds["simulated_seconds"].tolist())


@pytest.mark.slow
def test_asking_for_losses_takes_its_time(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Candidates receive the model and pass their samples forward; those that are chosen need not receive it again."""
    changes = [f"federation.clock={{name: listed, {SPEEDS}, down: 1000, up: 500}}", "federation.rounds=1"]
    chosen = "federation.selection={name: power_of_choice, candidates: 6}"
    run = fedlt.run(tiny, *changes, chosen, out=tmp_path, backend="inline")
    sizes, model = federate(load_scenario(tiny)).clients.sizes, 4 * run.summary["parameters"]
    speeds = np.array([100, 50, 200, 25, 100, 400])
    asking = max(model / 1000 + sizes / 3 / speeds + 8 / 500)
    training = sorted(sizes / speeds + model / 500)
    rest = float(run.rounds["simulated_seconds"][0]) - asking
    assert min(abs(rest - each) for each in training[2:]) < 1e-9, "the slowest of three clients"


@pytest.mark.slow
def test_stragglers_are_left_out_of_the_model_and_counted(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Client 3 needs 30 / 25 s and more; without it, the model is that of a cohort which it is not in."""
    clock = f"federation.clock={{name: listed, {SPEEDS}, down: 1e9, up: 1e9, deadline: 1.0}}"
    few = ["federation.participation=1", "federation.rounds=1"]
    run = fedlt.run(tiny, clock, *few, out=tmp_path, backend="inline")
    sizes = federate(load_scenario(tiny)).clients.sizes
    late = sizes / np.array([100, 50, 200, 25, 100, 400]) > 1.0
    assert late.sum() == run.rounds["stragglers"][0] == 1
    assert run.rounds["clients"].tolist() == [5]
    assert run.rounds["simulated_seconds"].tolist() == [1.0]
    assert run.rounds["skipped"].tolist() == [0]
    assert run.rounds["samples"].tolist() == [sizes.sum()], "they have worked for nothing"

    path = tmp_path / "others.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom fedlt import Selection\n\n\n@dataclass(frozen=True)\n"
        "class Others(Selection):\n    def choose(self, pool):\n        return [0, 1, 2, 4, 5]\n"
    )
    without = fedlt.run(
        tiny, *few, f"federation.selection={path}:Others", "federation.block=1", out=tmp_path, backend="inline"
    )
    assert run.summary["model_hash"] == without.summary["model_hash"]


@pytest.mark.slow
def test_more_are_asked_and_the_slowest_not_waited_for(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "federation.clock={name: log_normal, over: 0.5}", out=tmp_path, backend="inline")
    assert run.rounds["clients"].tolist() == [3, 3]
    assert run.rounds["stragglers"].tolist() == [2, 2]  # ceil(1.5 * 3) were asked
    assert (run.rounds["bytes_up"] == 5 * 4 * run.summary["parameters"]).all()


@pytest.mark.grid
@pytest.mark.usefixtures("ray_workers")
def test_rounds_close_alike_on_every_backend_and_after_a_crash(
    tiny: dict[str, Any], tmp_path: Path, power_cut: PowerCut
) -> None:
    changes = ["federation.clock={name: log_normal, over: 0.3, deadline: 0.6}", "federation.rounds=4",
               "federation.selection=power_of_choice", "federation.participation=0.4", "resources.checkpoint=1",
               "strategy=fedrod", "federation.dropout=0.2"]  # fmt: skip
    whole = fedlt.run(tiny, *changes, out=tmp_path / "whole", backend="inline")
    assert whole.rounds["stragglers"].sum()
    runs = [
        fedlt.run(tiny, *changes, out=tmp_path / backend, backend=backend, workers=2)
        for backend in ("processes", "ray")
    ]
    with power_cut(2):
        fedlt.run(tiny, *changes, out=tmp_path / "cut", backend="inline")
    runs.append(fedlt.run(tiny, *changes, out=tmp_path / "cut", backend="processes", workers=2))
    for run in runs:
        assert run.summary["model_hash"] == whole.summary["model_hash"]
        for column in ("simulated_seconds", "stragglers", "clients"):
            assert run.rounds[column].tolist() == whole.rounds[column].tolist(), column


OWN = """
from dataclasses import dataclass

import numpy as np

from fedlt import Clock, Devices


@dataclass(frozen=True)
class Equal(Clock):
    speed: float = 10.0

    def devices(self, sizes, seed):
        return Devices.alike(len(sizes), samples=self.speed, down=1e6, up=1e6)


@dataclass(frozen=True)
class Short(Clock):
    def devices(self, sizes, seed):
        return Devices.alike(2, samples=1.0, down=1.0, up=1.0)


@dataclass(frozen=True)
class Number(Clock):
    def devices(self, sizes, seed):
        return 3.0


@dataclass(frozen=True)
class Fails(Clock):
    def devices(self, sizes, seed):
        return sizes["a"]
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN, encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_selection_sees_the_devices(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "quick.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom fedlt import Selection\n\n\n@dataclass(frozen=True)\n"
        "class Quickest(Selection):\n    def choose(self, pool):\n"
        "        return pool.devices.samples.argsort()[-pool.size :]\n"
    )
    clock = "federation.clock={name: listed, samples: [60, 50, 200, 25, 100, 400]}"
    run = fedlt.run(tiny, clock, f"federation.selection={path}:Quickest", out=tmp_path, backend="inline")
    sizes = federate(load_scenario(tiny)).clients.sizes
    assert (run.rounds["samples"] == sizes[[5, 2, 4]].sum()).all()


@pytest.mark.slow
def test_a_clock_of_ones_own(tiny: dict[str, Any], tmp_path: Path, own: Path) -> None:
    run = fedlt.run(tiny, f"federation.clock={{name: '{own}:Equal', over: 0.3}}", out=tmp_path / "runs")
    assert run.rounds["stragglers"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["federation.clock=log_norm"], "did you mean 'log_normal'"),
        (["federation.clock={name: listed, samples: [1, 2]}"], "samples lists 2 numbers, and there are 6 clients"),
        (["federation.clock={name: listed, up: 0}"], "up has 0; give numbers above 0"),
        (["federation.clock={name: log_normal, deadline: 0}"], "expected a number > 0"),
        (["federation.clock=listed", "strategy=centralized"], "one site.*remove the clock"),
        (
            ["federation.clock={name: listed, over: 1}", "strategy=local"],
            "local sends nothing .* remove deadline and over",
        ),
        (["federation.clock=listed", "federation.late.chance=0.5"], "says who is late.*take one of the two"),
        (["federation.clock=OWN:Short"], "Short.devices gave samples that are not 6 numbers above 0"),
        (["federation.clock=OWN:Number"], "Number.devices gave a float; return fedlt.Devices"),
        (["federation.clock=OWN:Fails"], "Fails.devices failed"),
    ],
)
@pytest.mark.slow
def test_what_has_no_meaning_is_refused_with_the_remedy(
    tiny: dict[str, Any], tmp_path: Path, own: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        fedlt.run(tiny, *(change.replace("OWN", str(own)) for change in changes), out=tmp_path / "runs")


@pytest.mark.slow
def test_the_example_of_the_page_runs(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "time-to-accuracy.md"
    source, *_ = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "phones.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    clock = "federation.clock={name: ./phones.py:Phones, deadline: 1}"
    run = fedlt.run(tiny, clock, "federation.participation=1", out="runs", backend="inline")
    assert run.rounds["stragglers"].tolist() == [2, 2], "clients 0 and 5 are slow"
