"""Calibration after the training: what each method finds, its figures, and the commands of a run without validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.calibration import METHODS, by_isotonic, by_temperature, by_vector, class_errors, measured
from fedlt.analyses.judged import Judged, Rows
from fedlt.commands.cli import app


def drawn(factors: list[float], offsets: list[float], seed: int = 0, size: int = 4000) -> Rows:
    """Rows whose labels follow the softmax of three logits; what the model says is stretched and shifted."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, (size, 3))
    labels = (softmax(true, axis=1).cumsum(1) > rng.random((size, 1))).argmax(1)
    return Rows(true * factors + offsets, labels, np.full(size, -1))


def truth(rows: Rows, factors: list[float], offsets: list[float]) -> np.ndarray[Any, Any]:
    return np.asarray(softmax((rows.logits - offsets) / factors, axis=1))


def test_each_method_finds_what_it_can_say() -> None:
    sure, skewed = ([3.0] * 3, [0.0] * 3), ([1.0, 2.0, 3.0], [2.0, 0.0, -1.0])
    test = drawn(*sure, seed=1)
    assert np.abs(by_temperature(drawn(*sure))(test.logits) - truth(test, *sure)).max() < 0.05
    test = drawn(*skewed, seed=1)
    assert np.abs(by_vector(drawn(*skewed))(test.logits) - truth(test, *skewed)).max() < 0.05
    gaps = {name: class_errors(fit(drawn(*skewed))(test.logits), test.labels).mean() for name, fit in METHODS.items()}
    assert gaps["vector"] < gaps["isotonic"] < gaps["temperature"] < gaps["as the run predicts"]


def test_a_class_without_validation_rows_stays_as_it_is() -> None:
    rows = drawn([1.0] * 3, [0.0] * 3)
    seen = rows.labels < 2
    few = Rows(np.c_[rows.logits[seen][:, :2], np.full(seen.sum(), -40.0)], rows.labels[seen], rows.clients[seen])
    given = np.array([[1.0, 0.0, 1.0]])
    assert by_vector(few)(given)[0] == pytest.approx(by_temperature(few)(given)[0], abs=0.1)
    assert by_isotonic(few)(given)[0, 2] > 0.3


def test_the_class_wise_error_by_hand() -> None:
    """Class 0 is told 0.9 twice and is there once; class 1 is told 0.1 twice and is there once."""
    assert class_errors(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])) == pytest.approx([0.4, 0.4])
    assert class_errors(np.eye(2), np.array([0, 1])) == pytest.approx([0, 0])


def test_groups_are_apart() -> None:
    logits = np.log(np.array([[0.9, 0.1]] * 4))
    rows = Rows(logits, np.array([0, 0, 0, 1]), np.full(4, -1))
    table, curves = measured(Judged(rows, rows, np.array([0, 2], np.int8), "generic"))
    found = table[table["method"] == "as the run predicts"].set_index("of")
    assert found["ece"].to_dict() == pytest.approx({"all": 0.15, "head": 0.1, "tail": 0.9}, abs=1e-5)
    assert found.loc["tail", "nll"] == pytest.approx(-np.log(0.1)) and found.loc["tail", "brier"] == pytest.approx(1.62)
    assert set(curves["of"]) == {"all", "head", "tail"} and curves["samples"].sum() == 2 * 4 * len(METHODS)


def test_the_command_agrees_with_the_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "data.validation=0.2", out=tmp_path)
    shown = CliRunner(env={"COLUMNS": "120"})
    said = shown.invoke(app, ["analyse", str(run.folder), "--calibration"])
    assert said.exit_code == 0 and "isotonic: all" in said.output
    kept = pd.read_parquet(run.folder / "calibrated-generic.parquet").set_index(["method", "of"])
    own = kept.loc[("as the run predicts", "all")]
    for figure in ("ece", "nll", "brier"):
        assert own[figure] == pytest.approx(run.final[f"generic/{figure}"], abs=1e-6)
    assert (run.folder / "calibrated-generic.png").is_file()


@pytest.mark.parametrize("flag", ["--calibration", "--conformal", "--abstention"])
def test_a_run_without_validation_is_told_what_to_do(flag: str, _without: Path) -> None:
    said = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["analyse", str(_without), flag])
    assert said.exit_code == 2 and f"{flag}: the run has no validation data" in said.output
    assert "data.validation=0.2" in said.output


@pytest.fixture
def _without(tiny: dict[str, Any], tmp_path: Path) -> Path:
    return fedlt.run(tiny, "federation.rounds=1", out=tmp_path).folder
