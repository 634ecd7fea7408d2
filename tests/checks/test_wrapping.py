"""A strategy around another one: what it hands on, what it declares, and how scenarios and tables call the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import fedlt
from fedlt.config.hook_results import name_of
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.provenance import code_now
from fedlt.errors import FedLTError, ScenarioError
from fedlt.learner import overrides
from fedlt.links.beyond import sent_beyond
from fedlt.strategy import Client, Strategy
from fedlt.training.assembly import assemble, pick_device
from fedlt.training.sameness import training_hash
from fedlt.wrapping import Wrapping
from strategies.creff import CReFF
from strategies.fedloge import FedLoGe

pytestmark = pytest.mark.slow

OwnFile = Callable[..., Path]
PLAIN = "from fedlt import Wrapping\n@dataclass(frozen=True)\nclass Around(Wrapping):\n    pass\n"
INNER = """@dataclass(frozen=True)
class Mine(Strategy):
    mu: float = 1.0

    def fit(self, client):
        {}
"""


@dataclass(frozen=True)
class Half(Wrapping):
    """Declares something of its own, and has one hook."""

    private: ClassVar[tuple[str, ...]] = ("head.bias",)
    needs: ClassVar[tuple[str, ...]] = ("prototypes",)

    def weight(self, client: Client) -> float:
        return 0.5 * super().weight(client)


# What is handed on ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "where"),
    [("fedloge", "processes"), ("creff", "inline"), ("ditto", "inline"), ("flower:FedAdam", "inline")],
)
def test_one_that_only_hands_on_is_the_strategy_inside(
    inner: str, where: str, tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path
) -> None:
    alone = fedlt.run(tiny, f"strategy={inner}", out=tmp_path, backend="inline")
    around = {"strategy": {"name": f"{own_file(PLAIN)}:Around", "inside": inner}}
    both = fedlt.run(tiny, around, out=tmp_path, backend=where, workers=1 + (where == "processes"))
    assert both.summary["model_hash"] == alone.summary["model_hash"]
    assert both.summary["needs"] == alone.summary["needs"]
    assert repr(both.final) == repr(alone.final)  # some are NaN


def test_what_is_declared_holds_for_both() -> None:
    both = Half("fedloge")  # type: ignore[arg-type]
    assert both.private == ("local_head.*", "head.bias")
    assert both.frozen == ("simplex.*",)
    assert both.needs == ("linear_head", "single_label", "prototypes")
    assert both.learner_parts == ()
    assert Half("local").scope == "personal"  # type: ignore[arg-type]
    assert not Half("flower:Krum").foldable  # type: ignore[arg-type]
    assert Half().inside == Half("fedavg").inside  # type: ignore[arg-type]


def test_a_hook_is_whose_that_answers(own_file: OwnFile) -> None:
    both = Half(CReFF())
    assert overrides(both, Strategy.weight) and overrides(both, Strategy.fit)
    assert not overrides(both, Strategy.adapt)
    assert not overrides(Half(Half(CReFF())), Strategy.begin)
    assert sent_beyond(both) == ["client.extras"]
    mine = load_scenario("digits_lt", f"strategy={own_file(INNER.format('pass'))}:Mine").strategy.create()
    assert name_of((Half(mine), "fit")) == "Mine.fit"


def test_a_failure_inside_is_told_by_its_own_hook(tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path) -> None:
    around, mine = own_file(PLAIN, "around.py"), own_file(INNER.format("client.nothing"))
    with pytest.raises(FedLTError, match=r"Mine\.fit; mine\.py, line"):
        fedlt.run(tiny, f"strategy={around}:Around", f"strategy.inside={mine}:Mine", out=tmp_path)


def test_a_loss_that_nobody_would_ask_is_refused(own_file: OwnFile) -> None:
    own = PLAIN.replace("pass", "def loss(self, client, batch):\n        return 0 * super().loss(client, batch)")
    with pytest.raises(ScenarioError, match=r"Around.loss would never be asked.*; override fit"):
        load_scenario("digits_lt", f"strategy={own_file(own)}:Around").strategy.create()


def test_slips_inside_are_told(own_file: OwnFile) -> None:
    mine = own_file(INNER.format("pass") + "\n    def agregate(self, server, updates):\n        pass\n")
    scenario = load_scenario("digits_lt", "strategy=fedrela", f"strategy.inside={mine}:Mine")
    with pytest.raises(ScenarioError, match="did you mean 'aggregate'"):
        assemble(scenario, federate(scenario), pick_device("cpu"))


# What it is called ----------------------------------------------------------------------------------------------------


def test_a_scenario_names_the_inner_one_and_its_fields() -> None:
    short = load_scenario("digits_lt", "strategy=fedrela", "strategy.inside=fedloge", "strategy.inside.norm=2")
    long = load_scenario("digits_lt", {"strategy": {"name": "fedrela", "inside": {"name": "fedloge", "norm": 2.0}}})
    assert short.hash == long.hash
    assert short.strategy.create().inside == FedLoGe(norm=2.0)
    assert "-fedrela-fedloge-s0-" in short.run_name
    assert load_scenario(short.to_dict()).hash == short.hash
    assert load_scenario("digits_lt", "strategy=fedrela").to_dict()["strategy"]["inside"] == {"name": "fedavg"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("strategy.inside=fedlog", "strategy.inside: unknown strategy 'fedlog'; did you mean 'fedloge'?"),
        ("strategy.inside={name: fedloge, nrm: 1}", "strategy.inside.nrm: unknown key of fedloge; did you mean 'norm'"),
        ("strategy.inside={name: fedloge, norm: -1}", "strategy.inside.norm: expected a number > 0 or null, got -1"),
    ],
    ids=["name", "key", "value"],
)
def test_what_does_not_fit_inside_is_told_by_its_key(change: str, told: str) -> None:
    with pytest.raises(ScenarioError) as problem:
        load_scenario("digits_lt", "strategy=fedrela", change)
    assert told in str(problem.value)


def test_a_file_of_the_inner_one_counts(own_file: OwnFile, tmp_path: Path) -> None:
    """Its text is part of the hash and of the record, and its path starts at the scenario's folder."""
    mine = own_file(INNER.format("super().fit(client)"))
    written = {"strategy": {"name": "fedrela", "inside": {"name": "./mine.py:Mine", "mu": 2.0}}}
    (tmp_path / "study.yaml").write_text(f"data: {{name: digits}}\nstrategy: {written['strategy']}\n")
    first = load_scenario(tmp_path / "study.yaml")
    hash = first.hash
    assert first.strategy.create().inside.mu == 2.0
    assert code_now(first)["strategy.inside"].keys() == {"mine.py"}
    assert first.run_name.startswith("study-fedrela-mine-s0-")
    mine.write_text(mine.read_text() + "\n# edited\n")
    assert load_scenario(tmp_path / "study.yaml").hash != hash


def test_a_comparison_has_the_inner_one_as_a_column(tiny: dict[str, Any], own_file: OwnFile, tmp_path: Path) -> None:
    around = f"strategy={own_file(PLAIN)}:Around"
    out = tmp_path / "runs"
    for inner in ("fedavg", "{name: ditto, lam: 0.5}", "ditto"):
        fedlt.run(tiny, around, f"strategy.inside={inner}", "federation.rounds=1", out=out, backend="inline")
    rows = {row.labels for row in fedlt.compare(out).rows}
    assert rows == {("Around", "fedavg", "-"), ("Around", "ditto", "0.5"), ("Around", "ditto", "0.1")}


# What trains the same -------------------------------------------------------------------------------------------------


def test_the_inner_ones_training_counts(own_file: OwnFile) -> None:
    def found(inner: str) -> str:
        scenario = load_scenario("digits_lt", "strategy=fedrela", f"strategy.inside={inner}")
        return training_hash(scenario, scenario.strategy.create(), scenario.learner.create())

    one = own_file(INNER.format("super().fit(client)"), "one.py")
    other = own_file(INNER.format("client.train(self.loss, lr=0.1)"), "other.py")
    hashes = [found(inner) for inner in ("fedavg", "fedprox", "{name: fedprox, mu: 2}", f"{one}:Mine", f"{other}:Mine")]
    assert len(set(hashes)) == 5


# Its contract ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hides(Strategy):
    """Keeps something on its class."""

    seen: ClassVar[list[int]] = []

    def fit(self, client: Client) -> None:
        self.seen.append(client.id)
        super().fit(client)


def test_both_are_checked() -> None:
    fedlt.check_strategy(Half, inside=FedLoGe(norm=2.0))
    with pytest.raises(FedLTError, match=r"fit\(\) changed Hides\.seen"):
        fedlt.check_strategy(Half, inside=Hides())
