"""How soon a figure is reached: rounds and seconds by hand, means that say how many runs reach it, and refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from fake_runs import make_run
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.comparing.comparison import Comparison, sheets
from fedlt.errors import ScenarioError

pytestmark = pytest.mark.slow

GOAL = "generic/accuracy=0.6"
ROUNDS, SECONDS = f"rounds to {GOAL}", f"seconds to {GOAL}"

RIGHT = {
    "fedavg": ([40, 60, 50], [50, 55, 61]),  # evaluated in rounds 3, 6 and 9
    "fedprox": ([62, 40, 40], [10, 20, 59]),  # the second seed never gets there
    "scaffold": ([10, 10, 10], [10, 10, 10]),
}


def made(folder: Path, tiny: dict[str, Any], simulated: float | None) -> Path:
    for strategy, seeds in RIGHT.items():
        for seed, right in enumerate(seeds):
            seconds = None if simulated is None else simulated * (seed + 1)
            make_run(folder, tiny, f"strategy={strategy}", f"seed={seed}", right=right, simulated=seconds)
    return folder


def sheet(comparison: Comparison) -> dict[str, tuple[str, ...]]:
    found = next(each for each in sheets(comparison) if each.title.startswith("first evaluation"))
    return {"header": found.header, **{line[0]: line for line in found.lines}}


def test_the_first_evaluation_that_is_as_good_counts(tiny: dict[str, Any], tmp_path: Path) -> None:
    found = fedlt.compare(made(tmp_path / "runs", tiny, 2.0), reach=GOAL)
    cells = {row.name: row.cells["first"] for row in found.rows}
    assert (cells["fedavg"][ROUNDS].mean, cells["fedavg"][ROUNDS].n) == (7.5, 2)  # 6 and 9
    assert cells["fedavg"][SECONDS].mean == (6 * 2 + 9 * 4) / 2
    assert (cells["fedprox"][ROUNDS].mean, cells["fedprox"][ROUNDS].n) == (3, 1)
    assert cells["scaffold"][ROUNDS].n == 0
    assert math.isnan(cells["scaffold"][SECONDS].mean)


def test_who_does_not_always_get_there_says_so_and_is_never_the_best(tiny: dict[str, Any], tmp_path: Path) -> None:
    comparison = fedlt.compare(made(tmp_path / "runs", tiny, 2.0), reach=GOAL)
    lines = sheet(comparison)
    assert lines["header"][-2:] == ("generic/accuracy 60 %: rounds", "generic/accuracy 60 %: seconds")
    assert lines["fedavg"][-2:] == ("8 ± 2", "24.00 ± 16.97")
    assert lines["fedprox"][-2:] == ("3 (1 of 2)", "6.00 (1 of 2)")
    assert lines["scaffold"][-2:] == ("-", "-")
    found = next(each for each in sheets(comparison) if each.title.startswith("first evaluation"))
    assert {found.lines[line][0] for line, _ in found.best} == {"fedavg"}
    assert "(2 of 3): so many do" in str(comparison)


def test_without_a_clock_there_are_rounds_alone(tiny: dict[str, Any], tmp_path: Path) -> None:
    found = fedlt.compare(made(tmp_path / "runs", tiny, None), reach=[GOAL, "generic/accuracy=0.5"])
    assert list(found.reach) == [ROUNDS, "rounds to generic/accuracy=0.5"]
    assert "first" not in fedlt.compare(tmp_path / "runs").rows[0].cells


def test_of_a_spread_less_is_better(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", tiny, personal=(50, 60, 70))  # a standard deviation of 0.08
    (row,) = fedlt.compare(run, reach=["personal/std=0.09", "personal/std=0.07"]).rows
    reached, missed = row.cells["first"].values()
    assert (reached.mean, missed.n) == (3, 0)


def test_variants_have_their_own(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", tiny, right=(40, 50), variants={"tau": 70})
    found = fedlt.compare(run, reach=GOAL, variants="tau")
    assert [row.cells["first"][ROUNDS].n for row in found.rows] == [0, 1]


def test_the_command_writes_it_for_programs(tiny: dict[str, Any], tmp_path: Path) -> None:
    made(tmp_path / "runs", tiny, 2.0)
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "runs"), "--reach", GOAL, "--format", "json"])
    assert result.exit_code == 0, result.output
    rows = [row for row in json.loads(result.stdout)["rows"] if row["evaluation"] == "first"]
    assert {row["metric"] for row in rows} == {ROUNDS, SECONDS}
    (row,) = (row for row in rows if row["strategy"] == "fedprox" and row["metric"] == ROUNDS)
    assert (row["mean"], row["n"]) == (3, 1)


@pytest.mark.parametrize(
    ("reach", "message"),
    [
        ("generic/accuracy", "--reach: expected METRIC=NUMBER, as in generic/accuracy=0.8"),
        ("generic/accuracy=often", "expected METRIC=NUMBER"),
        ("accuracy=0.8", "--reach: no run has 'accuracy'; did you mean 'generic/accuracy'"),
        ("generic/accuracy=80", "between 0 and 1, got 80; write generic/accuracy=0.8"),
    ],
)
def test_what_cannot_be_reached_is_refused(tiny: dict[str, Any], tmp_path: Path, reach: str, message: str) -> None:
    run = make_run(tmp_path / "runs", tiny)
    with pytest.raises(ScenarioError, match=message):
        fedlt.compare(run, reach=reach)
