"""What pages say of a method's figures in the tables of equal trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quoted import overview, studied
from benchmarks.quoted.pages import ROOT
from benchmarks.strategies import summary
from benchmarks.strategies.methods import METHODS

HEAD = "setting,strategy,variant,evaluation,metric,mean,std,n,difference,low,high,pairs,mark\n"
LINES = """s,fedavg,,last,generic/balanced_accuracy,0.5,0.01,3,,,,3,
s,ditto,,last,generic/balanced_accuracy,0.25,0.02,3,-0.25,-0.3,-0.2,3,-1
s,ditto,,last,generic/few,0.123,0.004,3,0.001,-0.01,0.02,3,0
"""


def test_a_row_has_means_deviations_and_points_to_fedavg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mnist_writers", "cifar10_lt"):
        (tmp_path / f"{name}.csv").write_text(HEAD + LINES.replace("s,", f"{name},", 1), encoding="utf-8")
    (tmp_path / "cifar10_lt.csv").write_text(HEAD + LINES.splitlines()[0] + "\n", encoding="utf-8")
    monkeypatch.setattr(summary, "HERE", tmp_path)
    monkeypatch.setattr(summary, "chosen", lambda setting, name: ["0.1", "lam 1"])
    text = studied.studied("ditto")
    assert "| `mnist_writers` | 0.1 | `lam 1` | 25.0 ± 2.0<br>(-25.0 ↓) |  | 12.3 ± 0.4<br>(+0.1) |  |" in text
    assert "Not in the table of `cifar10_lt`; `benchmarks/strategies` says why." in text
    assert "| 0.1 | `lam 1` | 50.0 ± 1.0 |  |  |  |" in studied.studied("fedavg")


def test_the_page_of_every_method_has_its_figures() -> None:
    for method in METHODS:
        page = ROOT / "docs" / "strategies" / f"{method.partition(':')[0]}.md"
        marks = [line.split() for line in page.read_text(encoding="utf-8").splitlines() if "quoted: studied" in line]
        assert any(method in mark for mark in marks), f"add <!-- quoted: studied {method} --> to {page}"


def test_a_cell_has_the_generic_model_over_the_personal_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    personal = "s,local,,last,personal_masked/accuracy,0.4,0.01,3,,,,3,\n"
    table = HEAD + LINES + personal + personal.replace("local", "fedavg").replace("0.4", "0.6")
    (tmp_path / "cifar10_lt.csv").write_text(table, encoding="utf-8")
    monkeypatch.setattr(summary, "HERE", tmp_path)
    head, _, *rows = overview.family("yardsticks", "cifar10_lt").splitlines()
    assert head == "| | CIFAR-10-LT<br>generic<br>masked | needs |"
    cells = {row.split("`")[1]: row.split(" | ")[1] for row in rows}
    assert cells == {"fedavg": "50.0 ± 1.0<br>60.0 ± 1.0", "local": "-<br>40.0 ± 1.0", "centralized": ""}


def test_those_that_agree_are_so_in_all_tables_but_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "s,{},,last,generic/balanced_accuracy,0.5,0.01,3,0.1,,,3,{}\n"
    marks = {"ccvr": ("1", "1", "1"), "fedrod": ("1", "0", "1"), "fedlf": ("1", "-1", "1"), "moon": ("-1", "-1", "0")}
    for place in range(3):
        lines = "".join(line.format(name, each[place]) for name, each in marks.items())
        (tmp_path / f"{place}.csv").write_text(HEAD + lines, encoding="utf-8")
    monkeypatch.setattr(summary, "HERE", tmp_path)
    assert "| generic model | **`ccvr`**, `fedrod` | `moon` |" in overview.agreed("0", "1", "2").splitlines()
