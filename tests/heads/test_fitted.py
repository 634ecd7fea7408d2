"""`fedlt head`: heads on the features of a finished run, beside its own predictions."""

from __future__ import annotations

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

SMALL = (
    "data.longtail.largest=60", "federation.clients=6", "federation.participation=1", "federation.rounds=2",
    "model={name: mlp, width: 16, depth: 1}", "resources.backend=inline",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fedlt.run("digits_lt", "strategy=fedloge", *SMALL, out=tmp_path_factory.mktemp("runs"))


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


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_an_estimator_that_can_be_cloned(name: str) -> None:
    made = HEADS[name].estimator({})
    assert clone(made).get_params() == made.get_params()


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
