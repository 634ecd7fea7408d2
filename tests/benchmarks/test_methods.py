"""What the comparison of methods with their own arithmetic counts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import methods

pytestmark = pytest.mark.slow


def test_a_method_stands_beside_fedavg_and_its_work(tmp_path: Path) -> None:
    path = tmp_path / "methods.csv"
    words = ["--only", "ditto,balancefl,flower:FedAdam", "--rounds", "3", "--repeats", "1", "--csv", str(path)]
    methods.main(words)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = {row["name"]: row for row in csv.DictReader(lines)}
    # Three epochs are 3 x 3. Ditto trains a second model on them; BalanceFL's teacher sees each sample once a round.
    assert float(found["ditto"]["work"]) == 2
    assert float(found["balancefl"]["work"]) == pytest.approx(10 / 9, abs=0.001)
    assert float(found["flower:FedAdam"]["work"]) == 1
    assert all(float(row["x FedAvg"]) > 0 for row in found.values())
