"""Memorization: by hand on a few points, of flipped labels and rare classes, and by the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.memorization import SHARE, memorized
from fedlt.commands.cli import app


def test_it_is_the_difference_of_two_probabilities() -> None:
    """The estimator from its definition, with scikit-learn's neighbour."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (20, 2)), rng.normal(3, 1, (6, 2))])
    y = np.repeat([0, 1], [20, 6])
    y[3] = 1
    inside, outside = np.zeros((2, 26)), np.zeros((2, 26))
    for _ in range(500):
        held = np.zeros(26, bool)
        held[rng.choice(26, round(SHARE * 26), replace=False)] = True
        right = KNeighborsClassifier(1).fit(x[held], y[held]).predict(x) == y
        inside += [right & held, held]
        outside += [right & ~held, ~held]
    expected = inside[0] / inside[1] - outside[0] / outside[1]
    found = memorized(x, y, 2000)
    assert np.abs(found - expected).max() < 0.15 and found[3] > 0.7


def test_equal_samples_do_not_remember_themselves() -> None:
    x, y = np.zeros((10, 3)), np.array([0] * 9 + [1])
    found = memorized(x, y, 300)
    assert found[9] == 1 and found[:9].max() < 0.5


def test_a_run_is_looked_into(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    said = CliRunner(env={"COLUMNS": "120"}).invoke(
        app, ["analyse", str(run.folder), "--memorization", "--learners", "60"]
    )
    assert said.exit_code == 0 and "head" not in said.output.splitlines()[0] and "client" in said.output
    kept = pd.read_parquet(run.folder / "memorization.parquet")
    assert len(kept) == len(run.features().train) and kept["memorization"].between(0, 1).all()
    assert kept["client"].nunique() == 6

    fedlt.run(tiny, "seed=1", out=tmp_path)
    said = CliRunner().invoke(app, ["analyse", str(tmp_path), "--memorization"])
    assert said.exit_code == 2 and "takes one run" in said.output
