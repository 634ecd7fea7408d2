"""Two histories of a class: slopes by hand, models side by side, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.pretraining import histories, pretraining_table
from fedlt.commands.cli import app

BEFORE = np.array([1000.0, 100, 10, 1000, 100, 10, 0])
OWN = np.array([10, 1000, 100, 100, 10, 1000, 0])


def test_both_slopes_are_found_at_once() -> None:
    """7 points for ten times as many samples before, 20 now; a class without own samples is left out."""
    recalls = 0.1 + 0.07 * np.log10(np.maximum(BEFORE, 1)) + 0.2 * np.log10(np.maximum(OWN, 1))
    found = histories(BEFORE, OWN, recalls)
    assert (found.before, found.own) == (pytest.approx(7), pytest.approx(20))
    assert found.many - found.few == pytest.approx(2 * 7 + 20 * (1.5 - 2.5))  # which mixes both, as means do
    assert found.own_many - found.own_few == pytest.approx(2 * 20 + 7 * (1.5 - 2.5))


@pytest.mark.parametrize("before", [OWN.astype(float), np.full(7, 5.0)])
def test_alike_histories_are_refused(before: Any) -> None:
    with pytest.raises(ValueError, match="whose numbers of samples differ, and differently in the two"):
        histories(before, OWN, np.linspace(0, 1, 7))


def test_a_run_is_split_by_the_runs_that_it_began_with(tiny: dict[str, Any], tmp_path: Path) -> None:
    counts = [[60 - 5 * ((c + first) % 10) for c in range(10)] for first in (3, 7)]
    place: dict[str, Any] = {"out": tmp_path, "backend": "inline"}
    first = [
        fedlt.run(tiny, f"data.longtail={{profile: counts, counts: {each}}}", "federation.rounds=1", **place)
        for each in counts
    ]
    named = ",".join(str(run.folder) for run in first)
    learner = "learner={name: foundation_bias, models: 2}"
    run = fedlt.run(tiny, learner, f"init_from=[{named}]", **place)

    table = pretraining_table(str(run.folder)).set_index("of")
    assert [*table.index] == ["fedavg", "fedavg, model0", "fedavg, model1"]
    last = run.classes[(run.classes["round"] == 2) & (run.classes["model"] == "generic[model1]")].sort_values("class")
    design = np.stack([np.ones(10), np.log10(counts[1]), np.log10(last["train_count"])], 1)
    slopes = np.linalg.lstsq(design, 100 * last["recall"], rcond=None)[0]
    assert table.iloc[2][["before", "own"]].tolist() == pytest.approx(slopes[1:].tolist())
    mean = np.log10(counts).mean(0)
    design[:, 1] = mean
    whole = 100 * run.classes[(run.classes["round"] == 2) & (run.classes["model"] == "generic")]["recall"]
    assert table.iloc[0]["before"] == pytest.approx(np.linalg.lstsq(design, whole, rcond=None)[0][1])

    said = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["analyse", str(run.folder), "--pretraining"])
    assert said.exit_code == 0 and "fedavg, model1 (1)" in said.output, said.output
    none = CliRunner().invoke(app, ["analyse", str(first[0].folder), "--pretraining"])
    assert none.exit_code == 2 and "no run began with the weights of another run" in none.output
