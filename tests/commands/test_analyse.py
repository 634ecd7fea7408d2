"""Options of `fedlt analyse`: one analysis at a time, with options of its own."""

from __future__ import annotations

import inspect

import pytest
from typer.testing import CliRunner

from fedlt.commands.analyse import ANALYSES, analyse
from fedlt.commands.cli import app


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "choose one: --frequency, --memorization"),
        (["--frequency", "--memorization"], "choose one: --frequency, --memorization"),
        (["--frequency", "--learners", "40"], "--learners: goes with --memorization, not with --frequency"),
        (
            ["--memorization", "--by", "strategy"],
            "--by: goes with --frequency, --tail and --pretraining, not with",
        ),
    ],
)
def test_one_analysis_with_its_own_options(words: list[str], said: str) -> None:
    found = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["analyse", "runs", *words])
    assert found.exit_code == 2 and said in found.output


def test_every_option_belongs_to_an_analysis() -> None:
    parameters = inspect.signature(analyse).parameters.keys() - {"paths", "names"}
    named = {name for analysis in ANALYSES for name in (analysis.name, *analysis.options)}
    assert parameters == named
    for analysis in ANALYSES:
        taken = list(inspect.signature(analysis.tables).parameters)
        assert set(taken[1:]) == set(analysis.options) and taken[0] == ("run" if analysis.one else "runs")
