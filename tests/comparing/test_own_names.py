"""Names that people give to their methods: kept with the run, or said to a comparison, a picture or a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from fake_runs import make_run
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.comparing.own_names import parse_names, renamed
from fedlt.config.scenario import load_scenario
from fedlt.errors import FedLTError, ScenarioError
from fedlt.plots.measured import by_name
from fedlt.results.runs import Run, load_runs
from fedlt.sweeps.sweep import Sweep


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def toy(out: Path, tiny: dict[str, Any], *overrides: str, name: str = "") -> Run:
    run = make_run(out, tiny, *overrides)
    run.rename(name)
    return run


def rows(found: Any) -> list[str]:
    return [row.name for row in found.rows]


def test_a_name_stands_for_the_method_and_all_that_it_is_made_of(tiny: dict[str, Any], tmp_path: Path) -> None:
    for seed in (0, 1):
        for strategy, extra, name in (("fedprox", "local.lr=0.2", "Ours"), ("fedavg", "local.lr=0.05", "")):
            toy(tmp_path, tiny, f"strategy={strategy}", extra, f"seed={seed}", name=name)
    found = fedlt.compare(tmp_path, reference="Ours")
    assert found.by == ("method",)
    assert rows(found) == ["Ours", "fedavg"]
    assert found.reference == "Ours"
    assert "difference to Ours in points" in str(found)

    # Keys in which runs without a name differ still tell these apart.
    toy(tmp_path, tiny, "local.lr=0.1")
    found = fedlt.compare(tmp_path)
    assert found.by == ("method", "local.lr")
    assert [row.labels for row in found.rows] == [("Ours", "-"), ("fedavg", "0.05"), ("fedavg", "0.1")]
    assert rows(found)[0] == "Ours"
    assert sorted(by_name(load_runs(tmp_path))) == ["Ours", "fedavg 0.05", "fedavg 0.1"]

    # What is asked for by name of its key is shown; the strategy is called as its user calls it.
    found = fedlt.compare(tmp_path, by="strategy,local.lr")
    assert [row.labels for row in found.rows] == [("Ours", "0.2"), ("fedavg", "0.05"), ("fedavg", "0.1")]


def test_one_name_is_one_method(tiny: dict[str, Any], tmp_path: Path) -> None:
    toy(tmp_path, tiny, "local.lr=0.1", name="Ours")
    toy(tmp_path, tiny, "local.lr=0.2", name="Ours")
    with pytest.raises(ScenarioError, match=r"local\.lr: the row 'Ours' mixes .*choose runs, or names"):
        fedlt.compare(tmp_path)


def test_settings_of_a_named_method_are_selected(tiny: dict[str, Any], tmp_path: Path) -> None:
    content = {**tiny, "data": {**tiny["data"], "validation": 0.2}}
    for lr in (0.1, 0.2):
        fedlt.run(content, "strategy=fedprox", f"local.lr={lr}", out=tmp_path, name="Ours")
    fedlt.run(content, out=tmp_path)
    found = fedlt.compare(tmp_path, select="validation/generic/accuracy")
    assert sorted(rows(found)) == ["Ours", "fedavg"]
    assert {row.name: row.tried for row in found.rows} == {"Ours": 2, "fedavg": 1}


def test_rows_are_renamed_by_what_they_are_called_or_by_what_was_typed(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = own_file("class Balanced(Strategy):\n    pass\n")
    out = tmp_path / "runs"
    for overrides in ([f"strategy={path}:Balanced"], ["strategy=fedprox", "strategy.mu=0.1"],
                      ["strategy=fedprox", "strategy.mu=1.0"]):  # fmt: skip
        make_run(out, tiny, *overrides)
    for typed in (f"{path}:Balanced", "./mine.py:Balanced", "Balanced"):
        found = fedlt.compare(out, names={typed: "Ours", "fedprox 1.0": "FedProx, strong"})
        assert rows(found) == ["FedProx, strong", "Ours", "fedprox"]
    assert [run.name for run in load_runs(out)] == ["", "", ""]  # nothing is written
    with pytest.raises(ScenarioError, match=r"--name: no run is called 'Balancd'; did you mean 'Balanced'\?"):
        fedlt.compare(out, names={"Balancd": "Ours"})
    assert [run.name for run in renamed(renamed(load_runs(out), {"Balanced": "A"}), {"A": "B"})].count("B") == 1


def test_names_are_read_and_checked() -> None:
    names = parse_names(["./b.py:B=Ours (mu=0.1)", "fedavg = FedAvg"])
    assert names == {"./b.py:B": "Ours (mu=0.1)", "fedavg": "FedAvg"}
    for wrong in ("Ours", "fedavg=", "fedavg=-", "fedavg=two\nlines"):
        with pytest.raises(ScenarioError, match="--name: expected"):
            parse_names([wrong])


@pytest.fixture
def scenario(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(load_scenario(tiny).to_yaml(), encoding="utf-8")
    return "small.yaml"


@pytest.mark.slow
def test_the_command_line_keeps_a_name_and_takes_names(scenario: str, tiny: dict[str, Any]) -> None:
    assert call("run", scenario, "strategy=fedprox", "--seeds", "0,1", "--name", "Ours").exit_code == 0
    assert call("run", scenario, "--seeds", "0,1").exit_code == 0
    assert {run.name for run in load_runs("runs")} == {"Ours", ""}
    assert {run.folder.name for run in load_runs("runs")} == {
        load_scenario(scenario, [f"strategy={strategy}", f"seed={seed}"]).run_name
        for strategy in ("fedprox", "fedavg") for seed in (0, 1)
    }  # fmt: skip

    found = call("compare", "runs", "--reference", "Ours", "--format", "json")
    assert json.loads(found.stdout)["seeds"] == {"Ours": [0, 1], "fedavg": [0, 1]}
    told = call("compare", "runs", "--name", "fedavg=The others'", "--reference", "fedavg").stdout
    assert "difference to The others' in points" in told

    # The same run under another name, and without one: it keeps what it has.
    assert "already finished" in call("run", scenario, "strategy=fedprox", "--name", "Ours 2").stdout
    assert call("run", scenario, "strategy=fedprox", "seed=1").exit_code == 0
    assert {run.name for run in load_runs("runs")} == {"Ours", "Ours 2", ""}
    assert call("run", scenario, "strategy=fedprox", "--force").exit_code == 0
    assert {run.name for run in load_runs("runs")} == {"Ours", "Ours 2", ""}

    wrong = call("run", scenario, "--name", " ")
    assert (wrong.exit_code, "--name: expected a word" in wrong.stderr) == (2, True)


@pytest.mark.slow
def test_pictures_and_reports_are_labelled_by_names(scenario: str) -> None:
    for strategy in ("fedprox", "fedavg"):
        assert call("run", scenario, f"strategy={strategy}", "--name", strategy.upper()).exit_code == 0
    assert call("plot", "runs", "--name", "FEDPROX=Ours here", "-o", "p.svg").exit_code == 0
    assert call("plot", "runs", "--kind", "gain", "--name", "FEDAVG=Base", "--reference", "FEDAVG").exit_code == 0
    assert call("report", "runs", "--name", "fedprox=Ours here", "--reference", "fedprox").exit_code == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "Ours here" in page
    assert "FEDAVG" in page
    assert "FEDPROX" not in page
    wrong = call("plot", "runs", "--name", "nothing=Ours")
    assert (wrong.exit_code, "no run is called 'nothing'" in wrong.stderr) == (2, True)


def test_a_mapping_names_the_methods(tiny: dict[str, Any], tmp_path: Path) -> None:
    first, second = (toy(tmp_path, tiny, f"strategy={strategy}") for strategy in ("fedavg", "fedprox"))
    found = fedlt.compare({"base": first, "ours": tmp_path / second.folder.name}, reference="ours")
    assert (rows(found), found.reference) == (["base", "ours"], "ours")
    assert (first.name, second.name) == ("", "")


def test_a_sweep_is_taken_where_runs_are(tiny: dict[str, Any], tmp_path: Path) -> None:
    runs = tuple(toy(tmp_path, tiny, f"strategy={strategy}") for strategy in ("fedavg", "fedprox"))
    swept = Sweep(runs, {"strategy=fedbn seed 0": "it does not fit"})
    assert repr(swept) == "Sweep(2 runs, 1 failed)"
    assert rows(fedlt.compare(swept)) == rows(swept.compare("fedavg")[0]) == ["fedavg", "fedprox"]
    assert swept.compare("fedavg")[0].reference == "fedavg"
    assert len(fedlt.plots.draw("gain", swept, reference="fedavg").axes) == 2
    shown = swept._repr_markdown_()
    assert shown.startswith("`Sweep(2 runs, 1 failed)`\n\n**accuracy in %, last evaluation**\n\n| strategy | n |")
    assert shown.endswith("\n\n- strategy=fedbn seed 0: it does not fit")
    assert Sweep((), {})._repr_markdown_() == "`Sweep(0 runs)`"


def test_what_names_no_runs_is_told_what_would(tiny: dict[str, Any], tmp_path: Path) -> None:
    toy(tmp_path, tiny)
    with pytest.raises(FedLTError, match=r"holds no run\.json; fedlt\.load_runs\('.*'\) opens the runs in it"):
        fedlt.open_run(tmp_path)
    with pytest.raises(ScenarioError, match="runs: there is no run to draw"):
        fedlt.plots.draw("clients", {})
    with pytest.raises(ScenarioError, match=r"seeds: expected several whole numbers, such as range\(3\), got '0-2'"):
        fedlt.sweep(tiny, seeds="0-2", out=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match=r"seeds: a run has one, seed=0; fedlt\.sweep\(\.\.\., seeds=range\(3\)\)"):
        fedlt.run(tiny, seeds=range(3), out=tmp_path)  # type: ignore[call-arg]
