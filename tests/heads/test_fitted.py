"""`fedlt head`: heads on the features of a finished run, beside its own predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.errors import ScenarioError
from fedlt.heads.fitted import AS_RUN, HEADS, head_table
from fedlt.results.runs import Run


@pytest.fixture
def run(tiny: dict[str, Any], tmp_path: Path) -> Run:
    return fedlt.run(tiny, "strategy=fedloge", "federation.participation=1", out=tmp_path)


def test_the_table_has_the_run_and_every_head(run: Run) -> None:
    table = head_table(run, ["ridge"], ["ridge.alpha=10"]).set_index("model")
    assert table.loc[AS_RUN, "accuracy"] == pytest.approx(run.final["generic/accuracy"])
    assert table.loc[AS_RUN, "medium"] == pytest.approx(run.final["generic/medium"])
    kept = run.features()
    mine = make_pipeline(StandardScaler(), RidgeClassifier(alpha=10, class_weight="balanced"))
    mine.fit(kept.train.features, kept.train.labels)
    right = mine.predict(kept.test.features) == kept.test.labels
    assert table.loc["ridge", "accuracy"] == pytest.approx(right.mean()) and table.loc["ridge", "options"] == "alpha=10"
    recalls = [right[kept.test.labels == label].mean() for label in range(10)]
    assert table.loc["ridge", "balanced"] == pytest.approx(np.mean(recalls))
    assert pd.read_parquet(run.folder / "heads-generic.parquet")["model"].tolist() == [AS_RUN, "ridge"]


def test_every_head_fits_a_client(run: Run) -> None:
    names = [name for name in HEADS if name != "t_process"]
    words = ["t_process.max_samples=40", "t_process.max_iter=2", "presto.lam=0.01", "presto.max_iter=20"]
    table = head_table(run, [*names, "t_process"], words, client=1)
    assert table["accuracy"].between(0, 1).all() and len(table) == len(HEADS) + 1
    assert (run.folder / "heads-client-1.parquet").is_file()
    for recipe in HEADS.values():
        clone(recipe.estimator({}))


@pytest.mark.parametrize(
    ("names", "words", "what"),
    [
        (["rigde"], [], "there is no head 'rigde'.*ridge"),
        (["ridge"], ["ridge.alhpa=1"], "has no key 'alhpa'.*alpha"),
        (["ridge"], ["gaussian.shrinkage=0.1"], "expected NAME.KEY=VALUE.*ridge"),
        (["ridge"], ["ridge.alpha=-1"], "alpha"),
    ],
)
def test_what_is_wrong_is_said(run: Run, names: list[str], words: list[str], what: str) -> None:
    with pytest.raises(ScenarioError, match=what):
        head_table(run, names, words)


def test_the_command_shows_the_table(run: Run) -> None:
    said = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["head", str(run.folder), "--with", "ridge,nearest_mean"])
    assert said.exit_code == 0 and AS_RUN in said.output and "nearest_mean" in said.output
    said = CliRunner().invoke(app, ["head", str(run.folder), "--with", "rigde"])
    assert said.exit_code == 2 and "ridge" in said.output
