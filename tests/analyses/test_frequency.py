"""Accuracy by frequency: the line of a run, its rivals, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.frequency import frequency_table, trend
from fedlt.commands.cli import app
from fedlt.errors import ScenarioError


def test_a_line_in_the_logarithm_is_found() -> None:
    counts = np.array([10, 100, 1000, 30, 300, 0, 50])
    recalls = 0.1 + 0.2 * np.log10(np.maximum(counts, 1))
    recalls[6] = np.nan  # not tested; class 5 has no training sample
    found = trend(counts, recalls)
    assert (found.slope, found.at_ten, found.correlation) == (pytest.approx(20), pytest.approx(30), pytest.approx(1))
    assert found.aic < -50
    assert trend(counts, 0.1 + 0.0005 * counts).aic > 50 and trend(counts, np.full(7, 0.5)).slope == pytest.approx(0)


@pytest.mark.parametrize("counts", [[10, 20, 30, 40], [5, 5, 5, 5, 5]])
def test_too_few_classes_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="a line takes 5 classes"):
        trend(np.array(counts), np.linspace(0, 1, len(counts)))


def test_methods_are_compared_flattest_first(tiny: dict[str, Any], tmp_path: Path) -> None:
    for words in (["seed=0"], ["seed=1"], ["strategy=fedavg_la"], ["strategy=local"]):
        fedlt.run(tiny, *words, "federation.rounds=4", "local.lr=0.2", out=tmp_path)
    table = frequency_table(str(tmp_path)).set_index("method")
    assert table["slope"].is_monotonic_increasing and table.loc["fedavg", "seeds"] == 2
    runs = fedlt.load_runs(tmp_path)
    mine = [run for run in runs if run.summary["strategy"] == "fedavg"]
    slopes = []
    for run in mine:
        rows = run.classes[(run.classes["model"] == "generic") & (run.classes["round"] == 4)].sort_values("class")
        slopes.append(np.polyfit(np.log10(rows["train_count"]), 100 * rows["recall"], 1)[0])
    assert table.loc["fedavg", "slope"] == pytest.approx(np.mean(slopes))
    assert "local" not in table.index and "local" in set(frequency_table(str(tmp_path), model="personal")["method"])
    with pytest.raises(ScenarioError, match=r"generic\[psi\]"):
        frequency_table(str(tmp_path), model="generic[psi]")

    said = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["analyse", str(tmp_path), "--frequency"])
    assert said.exit_code == 0 and "points per decade" in said.output and "fedavg (2)" in said.output
    assert CliRunner().invoke(app, ["analyse", str(tmp_path)]).exit_code == 2
