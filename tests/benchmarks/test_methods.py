"""What the comparison of methods with their own arithmetic counts."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import methods
from benchmarks.tables import RESULTS


@pytest.mark.slow
def test_a_method_stands_beside_fedavg_and_its_work(tmp_path: Path) -> None:
    path = tmp_path / "methods.csv"
    words = ["--only", "ditto,apfl,balancefl,flower:FedAdam", "--rounds", "3", "--repeats", "1", "--csv", str(path)]
    methods.main(words)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = {row["name"]: row for row in csv.DictReader(lines)}
    # Three epochs are 3 x 3. Ditto and APFL train a second model; BalanceFL's teacher sees each sample once a round.
    assert float(found["ditto"]["work"]) == float(found["apfl"]["work"]) == 2
    assert float(found["balancefl"]["work"]) == pytest.approx(10 / 9, abs=0.001)
    assert float(found["flower:FedAdam"]["work"]) == 1
    assert all(float(row["x FedAvg"]) > 0 for row in found.values())


@pytest.mark.unit
def test_what_takes_longer_than_its_work_has_a_reason() -> None:
    lines = (RESULTS / "methods.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    measured = [row for row in rows if not row["cannot"]]
    assert len(measured) > 100
    assert not [row["name"] for row in measured if methods.exceeds(row) and not row["reason"]]


@pytest.mark.unit
@pytest.mark.parametrize(("clients", "server", "asked"), [(1.29, 0.9, False), (1.31, 0.1, True), (1.0, 1.1, True)])
def test_a_reason_is_asked_above_the_limits(clients: float, server: float, asked: bool) -> None:
    assert methods.exceeds({"clients x work": clients, "server x FedAvg": server}) == asked
