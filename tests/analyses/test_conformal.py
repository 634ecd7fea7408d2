"""Conformal sets: thresholds by hand, what each kind promises, agreement with crepes, and the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.conformal import (
    aps,
    conformal_sets,
    conformal_table,
    lac,
    reweighted_thresholds,
    sets_table,
    thresholds,
)
from fedlt.analyses.judged import Judged, Rows
from fedlt.commands.cli import app

pytest.importorskip("crepes", reason="pip install 'fedlt[conformal]' for these tests")


def long_tailed(each: tuple[int, int], rng: np.random.Generator, client: int = -1) -> Rows:
    """Rows of two classes whose scores overlap; the model prefers class 0, as one of a long tail does."""
    labels = np.repeat([0, 1], each)
    signal = rng.normal(2.0 * labels - 1.0, 1.0)
    return Rows(np.stack([1.5 - signal, signal], 1), labels, np.full(len(labels), client))


def of(validation: Rows, test: Rows) -> Judged:
    return Judged(validation, test, np.array([0, 2], np.int8), "generic")


@pytest.mark.parametrize(
    ("number", "coverage", "limit"),
    [(9, 0.9, 9), (8, 0.9, np.inf), (19, 0.9, 18), (19, 0.95, 19), (18, 0.95, np.inf), (99, 0.9, 90), (4, 0.5, 3)],
)
def test_the_threshold_is_a_quantile_of_one_score_more(number: int, coverage: float, limit: float) -> None:
    """The ceil((n + 1) coverage)-th of n scores; infinite where that is beyond them."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, number + 1))
    assert thresholds(scores, np.zeros(number, np.int64), 1, coverage).tolist() == [limit]
    assert reweighted_thresholds(scores, np.zeros(number, np.int64), 1, coverage).tolist() == [limit]


def test_groups_have_thresholds_of_their_own() -> None:
    scores = np.concatenate([np.arange(1.0, 10), 10 * np.arange(1.0, 10), [0.5]])
    found = thresholds(scores, np.repeat([0, 1, 2], [9, 9, 1]), 4, 0.9)
    assert found.tolist() == [9, 90, np.inf, np.inf]  # one score, and none: the class is in every set


def test_classes_of_equal_weight_by_hand() -> None:
    """Scores 1..8 of class 0 weigh 1/8 each, 10 and 20 of class 1 a half.

    With 0.65 asked, and the weight of a row of its own added, class 0 ends at 10 (0.625 of 2.125 are as large as 20,
    which is not above 0.35; 1.125 as 10), and class 1 at 20 (1 of 2.5).
    """
    scores = np.concatenate([np.arange(1.0, 9), [10.0, 20.0]])
    found = reweighted_thresholds(scores, np.repeat([0, 1], [8, 2]), 3, 0.65)
    assert found.tolist() == [10, 20, np.inf]
    assert thresholds(scores, np.zeros(10, np.int64), 1, 0.65).tolist() == [8]


def test_scores_by_hand() -> None:
    probabilities, uniform = np.array([[0.2, 0.5, 0.3]]), np.array([0.5])
    assert lac(probabilities, uniform)[0] == pytest.approx([0.8, 0.5, 0.7])
    assert aps(probabilities, uniform)[0] == pytest.approx([0.9, 0.25, 0.65])


def test_sets_are_those_of_crepes() -> None:
    from crepes import ConformalClassifier

    rng = np.random.default_rng(1)
    found = of(long_tailed((60, 12), rng), long_tailed((40, 40), rng))
    known = 1 - softmax(found.validation.logits, axis=1)[np.arange(72), found.validation.labels]
    asked = 1 - softmax(found.test.logits, axis=1)
    theirs = ConformalClassifier().fit(known).predict_p(asked, smoothing=False) > 0.1
    assert (conformal_sets(found, "marginal").held == theirs).all() and 0 < theirs.mean() < 1

    by_class = ConformalClassifier().fit(known, bins=found.validation.labels)
    columns = [by_class.predict_p(asked[:, c], bins=np.full(80, c), smoothing=False) > 0.1 for c in range(2)]
    assert (conformal_sets(found, "class-wise").held == np.stack(columns, 1)).all()


def test_long_tailed_validation_rows_promise_nothing_for_a_balanced_test() -> None:
    rng = np.random.default_rng(2)
    table = sets_table(of(long_tailed((6000, 600), rng), long_tailed((4000, 4000), rng))).set_index(["sets", "of"])
    kept = table["coverage"]
    assert kept["marginal", "all"] < 0.75 and kept["marginal", "tail"] < 0.6 < 0.9 < kept["marginal", "head"]
    assert kept["reweighted", "all"] == pytest.approx(0.9, abs=0.02) and kept["reweighted", "tail"] < 0.85
    for group in ("all", "head", "tail"):
        within = 3 * table.loc[("class-wise", group), "error"]
        assert kept["class-wise", group] == pytest.approx(0.9, abs=within) and within < 0.07


def test_a_class_of_few_rows_is_in_every_set_and_is_told() -> None:
    rng = np.random.default_rng(3)
    found = of(long_tailed((50, 8), rng), long_tailed((20, 30), rng))
    assert conformal_sets(found, "class-wise").held[:, 1].all()
    table = sets_table(found).set_index(["sets", "of"])
    assert table.loc[("class-wise", "tail"), ["coverage", "unknown"]].tolist() == [1, 1]
    assert table.loc[("class-wise", "all"), "unknown"] == 0.6 and table.loc[("marginal", "all"), "unknown"] == 0


def test_clients_have_thresholds_of_their_own() -> None:
    rng = np.random.default_rng(4)
    easy, hard = (long_tailed((500, 500), rng, client) for client in range(2))
    harder = Rows(hard.logits[:, ::-1], hard.labels, hard.clients)  # a model that is mostly wrong
    both = Rows(*(np.concatenate(pair) for pair in zip(vars(easy).values(), vars(harder).values(), strict=True)))
    table = sets_table(of(both, both)).set_index(["sets", "of"])["coverage"]
    assert table["marginal", "client 0"] > 0.95 > 0.85 > table["marginal", "client 1"]
    for client in range(2):
        assert table["by client", f"client {client}"] == pytest.approx(0.9, abs=0.01)


def test_the_command(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fedlt.run(tiny, "data.validation=0.2", "federation.participation=1", out=tmp_path)
    shown = CliRunner(env={"COLUMNS": "120"})
    said = shown.invoke(app, ["analyse", str(run.folder), "--conformal", "--coverage", "0.8"])
    assert said.exit_code == 0 and "class-wise: coverage in %" in said.output
    kept = pd.read_parquet(run.folder / "conformal-generic.parquet").set_index(["sets", "of"])
    assert f"{100 * kept.loc[('marginal', 'all'), 'coverage']:.1f}" in said.output
    assert (run.folder / "conformal-generic.png").stat().st_size > 10_000 and (kept["asked"] == 0.8).all()

    held = conformal_table(run, score="aps", client="all")
    assert set(held["sets"]) == {"marginal", "reweighted", "class-wise", "by client"} and "client 1" in set(held["of"])
    for words, what in (
        (["--coverage", "1"], "--coverage: expected a share"),
        (["--score", "raps"], "--score: expected lac or aps"),
        (["--client", "6"], "--client: expected a number from 0 to 5, or all, got '6'"),
    ):
        said = shown.invoke(app, ["analyse", str(run.folder), "--conformal", *words])
        assert said.exit_code == 2 and what in said.output

    monkeypatch.setitem(sys.modules, "crepes", None)
    said = shown.invoke(app, ["analyse", str(run.folder), "--conformal"])
    assert said.exit_code == 2 and "pip install 'fedlt[conformal]'" in said.output
