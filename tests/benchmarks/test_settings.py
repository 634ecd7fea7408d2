"""The command that benchmarks of several settings share: what it measures, keeps and says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.centralized import acceptance, settings

FOLDER = Path(settings.__file__).parent


@pytest.mark.parametrize(("name", "columns"), [("foundation", ["method"]), ("from_scratch", ["model", "init"])])
def test_what_is_measured_again_stands_in_its_place(tmp_path: Path, name: str, columns: list[str]) -> None:
    """The committed tables, written once more, keep their bytes."""
    path = Path(shutil.copy(FOLDER / f"{name}.csv", tmp_path))
    table = pd.read_csv(path)
    found: dict[Any, dict[str, Any]] = {}
    for method, part in table.groupby(columns, sort=False):
        figures = part.drop(columns=["setting", "seed", *columns])
        found[method if len(columns) > 1 else method[0]] = {str(key): figures[key].to_numpy() for key in figures}
    settings.keep(path, "centralized", columns, range(3), found)
    assert path.read_bytes() == (FOLDER / f"{name}.csv").read_bytes()


def test_nothing_named_is_the_first_setting_and_a_failed_check_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(setting: str, seeds: range, out: Path) -> settings.Found:
        assert (setting, list(seeds), out) == ("one", [0, 1, 2], Path("runs/centralized/table"))
        return {"mine": {"all": np.array([1.0, 2.0, 3.0])}}

    monkeypatch.setattr("sys.argv", ["table"])
    status = settings.command(
        "about",
        tmp_path / "table.csv",
        ["one", "two"],
        lambda setting, out: pytest.fail("nobody has asked to tune"),
        measure,
        lambda found: [acceptance.at_least("gain", found["mine"]["all"].mean(), 5)],
    )
    assert status == 1
    assert "FAIL  gain: +2.0, at least +5.0 expected" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "table.csv")["all"].tolist() == [1, 2, 3]


def test_rows_that_are_not_named_are_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["acceptance", "--out", str(tmp_path)])
    assert acceptance.main({"row": lambda runs: [acceptance.Check("it holds", True)]}) == 0
