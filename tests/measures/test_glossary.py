"""Every figure that a run measures is explained, and the page of metrics is the glossary."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app
from fedlt.errors import ScenarioError
from fedlt.measures import glossary
from fedlt.measures.columns import COLUMNS
from fedlt.measures.figures import COSTS, METRICS
from fedlt.measures.headlines import ACCURACIES
from fedlt.results.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]


def test_every_figure_of_a_run_is_explained(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    for name in [*run.final, *ACCURACIES, *COSTS]:
        (entry,) = glossary.explain(name)
        assert entry.name == name
    shared = {"round"}
    columns = {**{table: list(found) for table, found in TABLES.items()}, "rounds": list(run.rounds)}
    for table, names in columns.items():
        for name in names:
            assert name in shared or f"{table}.{name}" in COLUMNS, f"{table}.{name}"


def several_labels(path: Path) -> Path:
    """Ninety rows of eight numbers; class c holds where number c is large, and class 3 seldom."""
    rng = np.random.default_rng(0)
    x = rng.random((90, 8))
    y = (x[:, :4] > [0.3, 0.5, 0.6, 0.9]).astype(np.int8)
    y[y.sum(axis=1) == 0, 0] = 1
    np.savez(path, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    return path


@pytest.mark.slow
def test_no_entry_explains_what_is_not_there(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, out=tmp_path)
    asking = fedlt.run(tiny, "learner={name: tlc, exit_below: 0.5}", "model={name: mlp, depth: 2}", out=tmp_path)
    tree = "data.parents=[a, a, b, b, c, c, d, d, e, e]"
    ordinal = fedlt.run(tiny, "data.targets=ordinal", tree, out=tmp_path)
    tiny["data"] = {"name": str(several_labels(tmp_path / "several.npz"))}
    several = fedlt.run(tiny, "federation.partition=iid", out=tmp_path)
    tiny["data"] = {"name": "digits"}
    items = fedlt.run(tiny, "federation.partition=iid", "data.targets=items", out=tmp_path)
    areas = fedlt.run("book_ratings", "federation.rounds=1", "local.steps=1", out=tmp_path, backend="inline")
    assert set(METRICS) <= {
        *areas.final,
        *run.final,
        *asking.final,
        *ordinal.final,
        *several.final,
        *items.final,
        *COSTS,
    }
    assert 1 <= asking.final["generic/experts"] <= 3
    known = {f"{table}.{name}" for table, found in TABLES.items() for name in found}
    for other in (several, items, areas):
        of_other = {"clients": other.clients, "classes": other.classes}
        known |= {f"{table}.{name}" for table, rows in of_other.items() for name in rows}
    assert set(COLUMNS) <= known | {f"rounds.{name}" for name in run.rounds}


def test_a_name_may_carry_a_mask_and_a_variant_or_be_the_last_part() -> None:
    (entry,) = glossary.explain("personal_masked[psi]/few")
    assert entry.name == "personal_masked[psi]/few"
    assert entry.text == " ".join([METRICS["personal/few"].text, glossary.MASKED, glossary.VARIANT])
    assert [entry.name for entry in glossary.explain("few")] == ["generic/few", "personal/few", "clients.few"]
    with pytest.raises(ScenarioError, match="did you mean 'ece'"):
        glossary.explain("eec")


def test_the_command_explains() -> None:
    one = CliRunner().invoke(app, ["explain", "generic/nc1"])
    assert one.output.startswith("generic/nc1 (NC1: spread within the classes)\n  Neural collapse, variability")
    assert max(map(len, one.output.splitlines())) <= 120
    everything = CliRunner().invoke(app, ["explain"]).output.split()
    assert everything == [*METRICS, *COLUMNS]
    wrong = CliRunner().invoke(app, ["explain", "generic/nc9"])
    assert wrong.exit_code == 2
    assert CliRunner().invoke(app, ["explain", "few", "--markdown"]).exit_code == 2


def test_the_page_of_metrics_is_the_glossary() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert text == glossary.page(), "write it anew: fedlt explain --markdown > docs/metrics.md"
    assert re.findall(r"^`([\w/.]+)`$", text, flags=re.MULTILINE) == [*METRICS, *COLUMNS]
