"""The benchmark of FedLoGe's norms and forms of heads: every form learns, and tables grow setting by setting."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import fedlt
from benchmarks.fedloge import norms
from benchmarks.fedloge.forms import FORMS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("form", FORMS)
def test_every_form_learns_from_clients_of_any_size(form: str, tiny: dict[str, Any], tmp_path: Path) -> None:
    path = Path(norms.__file__).with_name("forms.py")
    run = fedlt.run(tiny, f"strategy={{name: '{path}:Forms', form: {form}}}", out=tmp_path, backend="inline")
    assert 0.1 < run.final["personal_masked/accuracy"] <= 1


def test_a_table_keeps_the_lines_of_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "norms.csv"
    for setting, norm in (("digits", "1"), ("mnist", "2"), ("digits", "4")):
        norms.write(path, setting, [{"setting": setting, "norm": norm, "generic": "50.00"}])
    with path.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["setting"], line["norm"], line["generic"]) for line in lines] == [
        ("mnist", "2", "50.00"),
        ("digits", "4", "50.00"),
    ]


def test_figures_are_those_of_validation_data_alone(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "strategy=fedloge", "data.validation=0.2", out=tmp_path, backend="inline")
    found = norms.figures(run)
    assert found["generic"] == f"{100 * run.final['validation/generic/accuracy']:.2f}"
    assert found["masked[phi]"] == f"{100 * run.final['validation/personal_masked[phi]/accuracy']:.2f}"
    plain = fedlt.run(tiny, "strategy=fedloge", out=tmp_path, backend="inline")
    assert not any(norms.figures(plain).values())
