"""Paths as one would type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedlt.process.files import from_here


def test_a_path_beneath_is_told_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "study").mkdir()
    monkeypatch.chdir(tmp_path / "study")
    assert from_here(tmp_path / "study" / "runs" / "one") == Path("runs/one")
    assert from_here(Path("./runs/one")) == Path("runs/one")
    assert from_here(tmp_path / "elsewhere") == tmp_path / "elsewhere"
