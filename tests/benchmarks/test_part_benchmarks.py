"""Small pieces of the benchmarks of BRL, ADR and M3I: who is tested, which images a probe sees, ranks, tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.centralized.joint_pretraining import EACH, effective_rank, spare
from benchmarks.centralized.parts import Z_AXIS, prepared, rows
from benchmarks.centralized.summary import by_method


def test_effective_rank_by_hand() -> None:
    """Singular values 3 and 1: the exponential of the entropy of 3/4 and 1/4. Rows that are alike have rank 1."""
    found = effective_rank(np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]], np.float32))
    assert found == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    assert effective_rank(np.ones((5, 4), np.float32)) == pytest.approx(1.0, abs=1e-4)


def test_the_probe_sees_rows_that_nobody_holds() -> None:
    y, held = np.arange(8000) % 10, np.arange(0, 8000, 3)
    probe, validation = spare(held, y)
    assert len(probe) == len(validation) == 10 * EACH
    assert not {*probe} & {*validation} and not {*probe, *validation} & {*held}
    assert set(np.bincount(y[probe])) == {EACH}


def test_a_person_is_in_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes are numbered by frequency; the files keep the persons."""
    user, y = np.arange(720) % 36, np.repeat([0, 1, 2], [60, 600, 60])
    np.savez(tmp_path / "wisdm_har.npz", x=np.zeros((720, 43), np.float32), y=y, user=user)
    monkeypatch.setenv("FEDLT_DATA", str(tmp_path))
    found = rows("wisdm")
    persons = [set(part[2]) for part in found.values()]
    assert [len(each) for each in persons] == [22, 7, 7]
    assert len(set.union(*persons)) == 36
    assert np.bincount(np.concatenate([part[1] for part in found.values()])).tolist() == [600, 60, 60]
    with np.load(prepared("wisdm", tmp_path, "val")) as file:
        assert set(file["user_test"]) == persons[1] and set(file["user_train"]) == persons[0]
    assert max(Z_AXIS) < 43 + 3  # three columns say where values are missing


def test_a_table_has_a_line_for_each_method() -> None:
    found = pd.DataFrame({"method": ["one", "one", "two"], "seed": [0, 1, 0], "all": [1.0, 3.0, 5.0]})
    lines = by_method(found, ("all",)).splitlines()
    assert lines[0] == "| method | seeds | all |"
    assert lines[2:] == ["| one | 2 | 2.0 ± 1.4 |", "| two | 1 | 5.0 |"]
    assert by_method(found.assign(setting="s"), ("all",)).splitlines()[2].startswith("| s | one | 2 |")
