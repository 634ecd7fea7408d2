"""Densities of classes: bounds and ratios by hand, the likeliest bandwidth, and the table of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KernelDensity
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.density import (
    ClassDensities,
    auroc,
    densities,
    likeliest,
    log_density,
    participation,
    squared_distances,
    thresholds,
    to_others,
)
from fedlt.commands.cli import app
from fedlt.errors import ScenarioError


@pytest.mark.parametrize(("dim", "samples", "bounds"), [(12, 4000, (0.519, 0.734)), (40, 20_000, (0.951, 1.345))])
def test_bounds_of_gaussian_samples(dim: int, samples: int, bounds: tuple[float, float]) -> None:
    assert thresholds(samples, dim) == pytest.approx(bounds, abs=5e-4)
    assert np.isnan(thresholds(1, dim)).all()


def test_shares_and_densities_by_hand() -> None:
    squared = np.array([[1.0, 1.0, np.inf], [0.0, 2 * np.log(3), np.inf], [100.0, 0.0, np.inf]])
    assert participation(squared, 1.0) == pytest.approx([0.5, 0.75**2 + 0.25**2, 1.0])
    x, queries = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]), np.array([[0.5, 0.5]])
    found = log_density(squared_distances(queries, x), 0.7, 2, 3)
    assert found == pytest.approx(KernelDensity(bandwidth=0.7).fit(x).score_samples(queries))
    assert np.diag(to_others(x)).tolist() == [np.inf] * 3 and to_others(x)[0, 1:].tolist() == [1.0, 4.0]
    assert auroc(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, False, True, False])) == 1
    assert auroc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5


def test_the_likeliest_bandwidth_is_that_of_leaving_one_out() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))

    def left_out(h: float) -> float:
        scores = [KernelDensity(bandwidth=h).fit(np.delete(x, i, 0)).score_samples(x[i : i + 1])[0] for i in range(40)]
        return float(np.mean(scores))

    best = likeliest([to_others(x)], 2)
    assert left_out(best) > max(left_out(0.95 * best), left_out(1.05 * best))


def test_one_bandwidth_leaves_rare_classes_on_few_samples() -> None:
    """Two of five directions count, and have the length one when they are whitened."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [400, 5, 1])
    x = rng.normal(size=(406, 5)) * [3.0, 3.0, 1e-3, 1e-3, 1e-3] + 50 * y[:, None]
    fitted = ClassDensities(0.2).fit(x, y)
    assert fitted.dim_ == 2 and fitted.whitened(x[y == 0]).std(axis=0) == pytest.approx([1, 1], abs=0.05)
    assert fitted.regimes == ["many samples", "few samples", "-"]
    assert fitted.participation_[0] < 0.2 < fitted.participation_[1] and np.isnan(fitted.participation_[2])
    assert fitted.class_scores(x[:1]).argmax() == 0
    assert ClassDensities(5.0).fit(x, y).regimes[:2] == ["many samples", "many samples"]
    with pytest.raises(ValueError, match="no class has two samples that differ"):
        ClassDensities().fit(np.eye(3), np.arange(3))


def test_a_run_has_a_table_and_a_warning(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    said = CliRunner(env={"COLUMNS": "140"}).invoke(
        app, ["analyse", str(run.folder), "--density", "--bandwidth", "0.05"]
    )
    assert said.exit_code == 0, said.output
    assert "bandwidth 0.05 is below h_G of 10 of 10 classes" in said.output and "medium" in said.output
    classes = pd.read_parquet(run.folder / "density_classes.parquet")
    assert classes["samples"].sum() == len(run.features().train) and set(classes["regime"]) == {"few samples"}
    samples = pd.read_parquet(run.folder / "density.parquet")
    assert len(samples) == len(run.features().test) and (run.folder / "density.png").is_file()
    assert densities(run, 50.0).warning() == ""


def test_several_labels_have_no_classes_of_samples(tmp_path: Path) -> None:
    class Tagged:
        folder = tmp_path

        def features(self) -> Any:
            return type("Kept", (), {"train": type("Split", (), {"labels": np.zeros((4, 2))})()})()

    with pytest.raises(ScenarioError, match="--density: is of samples with one class"):
        densities(Tagged())  # type: ignore[arg-type]
