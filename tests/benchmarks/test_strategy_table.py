"""The table of all strategies: who stands in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.fedloge.validation import hold_out
from benchmarks.strategies import settings
from fedlt.config import catalog


def test_every_strategy_has_a_row_and_fedloge_its_ablations() -> None:
    rows = settings.SETTINGS["digits"].rows()
    names = [settings.name_of(row) for row in rows]
    assert set(catalog.names("strategy")) - set(names) == {
        "fedbn", *settings.CHOOSING, *settings.COUNTING, *settings.LABELLED,
    }  # fmt: skip
    assert "{name: fedloge, backbone_from: psi}" in rows and names.count("fedloge") == 3


def test_every_learner_is_tried_in_every_host() -> None:
    setting = settings.SETTINGS["digits_learners"]
    rows = setting.rows()
    assert len(rows) == 2 * (len(catalog.names("learner")) - len(setting.leave_out)) and "fedavg with ldam" in rows
    (job,) = settings.jobs(setting, ["centralized with ldam"], [3])
    assert (job.scenario.strategy.name, job.scenario.learner.name, job.seed) == ("centralized", "ldam", 3)
    assert settings.name_of("centralized with ldam") == "centralized"


def test_runs_come_seed_by_seed() -> None:
    found = settings.jobs(settings.SETTINGS["digits"], ["fedavg", "local"], [0, 1])
    assert [(job.seed, job.label) for job in found] == [(0, "fedavg"), (0, "local"), (1, "fedavg"), (1, "local")]


def test_validation_rows_come_from_training_and_keep_their_columns(tmp_path: Path) -> None:
    y, rows = np.repeat([0, 1], [10, 5]), np.arange(15)
    given = {"x_train": rows, "y_train": y, "site_train": rows % 3, "x_test": rows + 100, "y_test": y}
    np.savez(tmp_path / "all.npz", class_names=np.array(["a", "b"]), **given)
    hold_out(tmp_path / "all.npz", tmp_path / "held.npz")
    with np.load(tmp_path / "held.npz") as file:
        assert sorted([*file["x_train"], *file["x_test"]]) == rows.tolist()
        assert np.bincount(file["y_test"]).tolist() == [2, 1]
        assert np.array_equal(file["site_test"], file["x_test"] % 3)
