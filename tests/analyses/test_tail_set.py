"""The tail test set: rows by hand, what models have right on it, and a file that several runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.analyses.tail_set import TailSet
from fedlt.commands.cli import app
from fedlt.errors import FedLTError, ScenarioError

LABELS = np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 4, 4])
COUNTS = np.array([50, 5, 9, 0, 90])  # class 3 has no training sample


def test_the_rarest_classes_have_equally_many_rows() -> None:
    kept = TailSet.of(COUNTS, LABELS, 3)
    assert kept.classes.tolist() == [1, 2, 0] and kept.counts.tolist() == [5, 9, 50]
    assert np.bincount(kept.labels).tolist() == [2, 2, 2] and (LABELS[kept.rows] == kept.labels).all()
    assert TailSet.of(COUNTS, LABELS).classes.tolist() == [1, 2]
    for size in (1, 5):
        with pytest.raises(ScenarioError, match="--rarest: expected 2 to 4"):
            TailSet.of(COUNTS, LABELS, size)


def test_accuracies_by_hand() -> None:
    """Everything is class 0 or 4 to this model, but within the set it tells class 1 and not class 2."""
    logits = np.zeros((11, 5))
    logits[:, 1], logits[:, 0] = 1.0, 2.0
    logits[LABELS == 4, 4] = 3.0
    kept = TailSet.of(COUNTS, LABELS, 2)
    found = kept.accuracies(logits, LABELS)
    assert found == {"all": 2 / 5, "tail": 0.0, "within": 0.5}
    with pytest.raises(FedLTError, match="of another data set"):
        kept.accuracies(logits, np.roll(LABELS, 3))
    with pytest.raises(FedLTError, match="of another data set"):
        kept.accuracies(logits[:4], LABELS[:4])


def test_a_file_is_made_once_and_taken_by_others(tiny: dict[str, Any], tmp_path: Path) -> None:
    run, file = fedlt.run(tiny, out=tmp_path / "runs"), tmp_path / "tail.npz"
    words = ["analyse", str(run.folder), "--tail", "--rows", str(file)]
    first = CliRunner(env={"COLUMNS": "120"}).invoke(app, [*words, "--rarest", "3"])
    assert first.exit_code == 0 and "3 rarest classes" in first.output, first.output
    kept = TailSet.load(file)
    assert len(kept.classes) == 3 and (run.features().test.labels[kept.rows] == kept.labels).all()

    again = CliRunner(env={"COLUMNS": "120"}).invoke(app, words)
    assert again.exit_code == 0 and "3 rarest classes" in again.output
    both = CliRunner().invoke(app, [*words, "--rarest", "2"])
    assert both.exit_code == 2 and "leave one of both out" in both.output
    file.write_text("no set")
    broken = CliRunner().invoke(app, words)
    assert broken.exit_code == 2 and "is no file of a tail test set" in broken.output
