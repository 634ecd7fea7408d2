"""What a run suggests to try next: commands that fit it, and that work as printed."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario
from fedlt.results.next_steps import next_steps
from fedlt.results.runs import load_runs, open_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_workers")]


@pytest.fixture
def scenario(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny scenario as a file in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(load_scenario(tiny).to_yaml(), encoding="utf-8")
    return "small.yaml"


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0, result.output
    return result


def steps(text: str) -> list[str]:
    """The commands that a run suggests, in the line above its path."""
    line = text.splitlines()[-2]
    assert line.startswith("next: ")
    return line.removeprefix("next: ").split(" | ")


def follow(command: str) -> str:
    """Run a suggested command as it is printed."""
    program, *words = shlex.split(command)
    assert program == "fedlt"
    return call(*words).stdout


def test_after_fedavg_comes_fedloge_alone_and_beside_it(scenario: str) -> None:
    out = call("run", scenario, "local.lr=0.1", "--seeds", "0,1", "--out", "my runs").stdout
    alone, both = steps(out)
    assert alone == "fedlt run small.yaml local.lr=0.1 --seeds 0,1 --out 'my runs' strategy=fedloge"
    assert both == (
        "fedlt sweep small.yaml local.lr=0.1 --seeds 0,1 --out 'my runs' strategy=fedavg,fedloge --reference fedavg"
    )
    follow(alone)
    compared = follow(both)
    assert "4 runs (2 methods, 2 seeds), 4 finished before, 0 to do" in compared  # the same runs, not others
    assert "difference to fedavg in points" in compared


def test_after_another_strategy_comes_the_comparison_with_fedavg_and_its_clients(scenario: str) -> None:
    words = "strategy=fedprox", "strategy.mu=0.5", "federation.rounds=1", "--backend", "inline"
    out = call("run", scenario, *words).stdout
    both, clients = steps(out)
    assert both == (
        "fedlt sweep small.yaml federation.rounds=1 resources.backend=inline "
        "'strategy={name: fedprox, mu: 0.5},fedavg' --reference fedavg"
    )
    compared = follow(both)
    assert "2 runs (2 methods, 1 seed), 1 finished before, 1 to do" in compared
    assert "difference to fedavg in points" in compared
    assert clients == f"fedlt plot runs/{Path(out.splitlines()[-1]).name} --kind clients -o clients.png"
    assert follow(clients) == "clients.png\n"


def test_after_several_seeds_all_of_them_are_drawn(scenario: str) -> None:
    words = "strategy=fedprox", "federation.rounds=1", "--seeds", "0-1"
    _, clients = steps(call("run", scenario, *words).stdout)
    assert clients == "fedlt plot runs --kind clients -o clients.png"
    call("run", scenario, "federation.rounds=1")  # which a picture of the folder would take in
    out = call("run", scenario, *words).stdout
    folders = " ".join(f"runs/{path.name}" for path in sorted(Path("runs").glob("*-fedprox-*")))
    assert steps(out)[1] == f"fedlt plot {folders} --kind clients -o clients.png"
    assert follow(steps(out)[1]) == "clients.png\n"


@pytest.mark.parametrize("strategy", ["fedloge", "local", "centralized"])
def test_keys_at_their_defaults_are_left_out(scenario: str, strategy: str) -> None:
    both, clients = steps(call("run", scenario, f"strategy={strategy}").stdout)
    assert both == f"fedlt sweep small.yaml strategy={strategy},fedavg --reference fedavg"
    assert "1 finished before, 1 to do" in follow(both)
    assert follow(clients) == "clients.png\n"


def test_a_strategy_of_a_file_is_named_as_it_was_typed(scenario: str, own_file: Callable[..., Path]) -> None:
    own_file("@dataclass(frozen=True)\nclass Mine(Strategy):\n    tau: float = 1.0\n    fast: bool = False\n")
    words = "strategy=./mine.py:Mine", "strategy.tau=0.5", "strategy.fast=true"
    both, _ = steps(call("run", scenario, *words).stdout)
    assert both == (
        "fedlt sweep small.yaml 'strategy={name: ./mine.py:Mine, tau: 0.5, fast: true},fedavg' --reference fedavg"
    )
    assert "1 finished before, 1 to do" in follow(both)


def test_a_scenario_that_names_its_strategy_itself_keeps_its_keys(tiny: dict[str, Any], scenario: str) -> None:
    own = {**tiny, "strategy": {"name": "fedprox", "mu": 2.0}}
    Path("small.yaml").write_text(load_scenario(own).to_yaml(), encoding="utf-8")
    both, _ = steps(call("run", scenario).stdout)
    assert both.startswith("fedlt sweep small.yaml 'strategy={name: fedprox, mu: 2.0},fedavg'")
    assert "1 finished before, 1 to do" in follow(both)


def test_after_another_learner_comes_the_plain_one(scenario: str) -> None:
    out = call("run", scenario, "learner=focal", "learner.gamma=2").stdout
    (both,) = steps(out)
    assert both == "fedlt sweep small.yaml 'learner={name: focal, gamma: 2.0},cross_entropy' --reference cross_entropy"
    assert "difference to " in follow(both)


def test_a_model_that_fedloge_cannot_train_gets_another_strategy(scenario: str) -> None:
    alone, both = steps(call("run", scenario, "model.width=8").stdout)  # 8 features for 10 classes
    assert alone == "fedlt run small.yaml model.width=8 strategy=fedprox"
    assert "strategy=fedavg,fedprox" in both
    follow(alone)
    alone, _ = steps(call("run", scenario, "local.together=2").stdout)
    assert alone.endswith("strategy=fedprox")
    follow(alone)


def test_a_value_with_commas_is_for_no_sweep(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    columns = "data.input_column=a,b"  # one value to a run, two to a sweep
    assert next_steps(run, ["mine.yaml", columns]) == [f"fedlt run mine.yaml {columns} strategy=fedloge"]
    assert len(next_steps(run, ["mine.yaml", "data.name=a(b"])) == 1  # which a sweep cannot read
    assert len(next_steps(run, ["mine.yaml", "data.longtail.counts=[60,60]", "--seeds", "0,3"])) == 2


def test_without_the_words_the_run_folders_scenario_is_taken(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = fedlt.run(tiny, quiet=False)
    (alone,) = steps(capsys.readouterr().out)
    assert alone == f"fedlt run runs/{run.folder.name}/scenario.yaml strategy=fedloge"
    other = open_run(follow(alone).splitlines()[-1])
    assert (other.summary["strategy"], other.summary["partition_hash"]) == ("fedloge", run.summary["partition_hash"])


def test_from_python_the_scenarios_name_and_the_overrides_are_known(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fedlt.run(scenario, "local.lr=0.1", out="there", workers=1, quiet=False)
    alone, both = steps(capsys.readouterr().out)
    assert alone == "fedlt run small.yaml local.lr=0.1 resources.workers=1 --out there strategy=fedloge"
    assert "2 runs (2 methods, 1 seed), 1 finished before, 1 to do" in follow(both)
    assert len(load_runs("there")) == 2


def test_after_fedloge_and_after_a_centralized_run_nothing_is_suggested_twice(scenario: str) -> None:
    for strategy in ("fedloge", "centralized"):
        suggested = steps(call("run", scenario, f"strategy={strategy}").stdout)
        assert not any(f"strategy={strategy}" in step and "fedavg" not in step for step in suggested)
        for step in suggested:
            follow(step)


def test_own_data_are_named_in_what_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (300, 8, 8, 1), dtype=np.uint8), np.arange(300) % 3
    np.savez("mine.npz", x_train=x[:240], y_train=y[:240], x_test=x[240:], y_test=y[240:])
    words = "data.name=./mine.npz", "federation.clients=4", "federation.rounds=1", "model=mlp"
    alone, both = steps(call("run", "own", *words).stdout)
    assert alone == f"fedlt run own {' '.join(words)} strategy=fedloge"
    follow(alone)
    assert "2 finished before, 0 to do" in follow(both)


def test_after_a_sweep_come_pictures_and_a_report_of_its_runs(scenario: str) -> None:
    def swept(*words: str) -> list[str]:
        last = call("sweep", scenario, "federation.rounds=1", *words).stdout.splitlines()[-1]
        return last.removeprefix("next: ").split(" | ") if last.startswith("next: ") else []

    suggested = swept("strategy=fedavg,fedprox", "--reference", "fedavg")
    assert suggested == [
        "fedlt plot runs --kind clients -o clients.png",
        "fedlt plot runs --kind gain --reference fedavg -o gain.png",
        "fedlt report runs --reference fedavg",
    ]
    for step in suggested[:2]:
        follow(step)

    # Runs of another scenario lie beside them.
    Path("other.yaml").write_text(Path("small.yaml").read_text("utf-8"), "utf-8")
    call("run", "other.yaml", "federation.rounds=1")
    suggested = swept("strategy=fedavg,fedprox")
    assert suggested == ["fedlt plot 'runs/small-*' --kind clients -o clients.png", "fedlt report 'runs/small-*'"]
    follow(suggested[0])

    # Of several settings, which no picture can show, there is a report; of runs among others there is nothing.
    assert swept("data.longtail.imbalance_factor=10,20") == []
    suggested = swept("data.longtail.imbalance_factor=10,20", "--out", "two")
    assert suggested == ["fedlt report two"]
    follow(suggested[0])
