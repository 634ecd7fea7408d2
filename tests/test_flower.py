"""Flower's own runtime: `flwr run .` with its default nodes gives the run folder and the bits of any other grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt


def test_flwr_run_gives_the_same_bits(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels come from a file beside the scenario; Flower starts its processes elsewhere, and they must find it."""
    monkeypatch.chdir(tmp_path)
    np.savez("labels.npz", people=np.arange(1497) % 10)
    noise = ["data.noise.kind=file", "data.noise.file=labels.npz:people"]
    scenario = fedlt.load(tiny, ["strategy=fedprox", "strategy.mu=0.1", *noise])
    here = fedlt.run(scenario, out=tmp_path / "inline", backend="inline")
    there = fedlt.run(scenario, out=tmp_path / "flower", backend="flower")
    assert there.folder.name == here.folder.name
    assert there.summary["grid"] != here.summary["grid"]
    assert there.summary["model_hash"] == here.summary["model_hash"]
    assert there.summary["final"] == here.summary["final"]
