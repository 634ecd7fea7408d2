"""Arrays that are costly to make: made once, read afterwards, and made each time where the disk refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedlt.process.cache import cache_folder, kept_array


def test_the_folder_is_the_argument_then_the_variable_then_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", "/one")
    assert cache_folder("/two") == Path("/two")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("FEDLT_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "fedlt"


def test_an_array_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "deep" / "cache"))
    made = [np.array([1.0, 2.0]), np.array([3.0])]
    assert kept_array("a-1", lambda: made[0]).tolist() == [1, 2]
    assert kept_array("a-1", lambda: made[1]).tolist() == [1, 2]
    assert kept_array("a-2", lambda: made[1]).tolist() == [3]
    assert sorted(path.name for path in cache_folder().iterdir()) == ["a-1.npy", "a-2.npy"]


def test_where_the_disk_refuses_it_is_made_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEDLT_CACHE", str(tmp_path / "file"))
    for value in (1.0, 2.0):
        with pytest.warns(UserWarning, match=r"^a is not kept: .*cannot be written .*; set FEDLT_CACHE$"):
            assert kept_array("a", lambda value=value: np.array([value])).tolist() == [value]  # type: ignore[misc]
