"""Declined answers: shares, accuracies and areas by hand, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.abstention import SHARES, answered, areas
from fedlt.analyses.judged import Judged, Rows
from fedlt.commands.cli import app


def rows(confidence: list[float], labels: list[int]) -> Rows:
    """Rows that all say class 0, as sure as given."""
    logits = np.log(np.stack([confidence, 1 - np.array(confidence)], 1))
    return Rows(logits, np.array(labels), np.full(len(labels), -1))


def test_half_of_the_rows_by_hand() -> None:
    """Validation says .9 is the surer half; of the test rows three reach it, two of which are right."""
    validation = rows([0.95, 0.9, 0.8, 0.7], [0, 0, 0, 0])
    test = rows([0.99, 0.93, 0.91, 0.6, 0.55], [0, 0, 1, 1, 0])
    table = answered(Judged(validation, test, np.array([0, 2], np.int8), "generic")).set_index(["share", "of"])
    half = table.loc[0.5]
    assert half.loc["all", "threshold"] == pytest.approx(0.9) and half.loc["all", "answered"] == 0.6
    assert half["accuracy"].to_dict() == pytest.approx({"all": 2 / 3, "head": 1, "tail": 0})
    assert half["answered"].to_dict() == pytest.approx({"all": 0.6, "head": 2 / 3, "tail": 0.5})
    assert half.loc["all", "tail_declined"] == 0.5 and np.isnan(half.loc["head", "tail_declined"])
    assert table.loc[(1.0, "all"), "answered"] == 1 and table.loc[(1.0, "all"), "accuracy"] == 0.6


def test_the_area_is_a_mean_over_shares() -> None:
    """Accuracy 1 at a half and 0.6 at all: 0.8. The tail is answered at all alone: what it has there."""
    table = pd.DataFrame({
        "share": [1.0, 1.0, 0.5, 0.5], "of": ["all", "tail"] * 2,
        "answered": [1.0, 1.0, 0.5, 0.0], "accuracy": [0.6, 0.2, 1.0, np.nan],
    })  # fmt: skip
    assert areas(table) == pytest.approx({"all": 0.8, "tail": 0.2})


def test_the_command(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "data.validation=0.2", out=tmp_path)
    said = CliRunner(env={"COLUMNS": "140"}).invoke(app, ["analyse", str(run.folder), "--abstention"])
    assert said.exit_code == 0 and "area" in said.output and "right: tail" in " ".join(said.output.split())
    kept = pd.read_parquet(run.folder / "abstention-generic.parquet")
    whole = kept[kept["of"] == "all"].set_index("share")
    assert list(whole.index) == list(SHARES) and whole.loc[1.0, "accuracy"] == pytest.approx(
        run.final["generic/accuracy"]
    )
    assert (run.folder / "abstention-generic.png").is_file()
