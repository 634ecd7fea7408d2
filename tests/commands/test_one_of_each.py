"""Singular and plural: no command speaks of 1 clients, 1 rounds or 1 classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario

pytestmark = pytest.mark.slow

COUNTED = (
    "rounds|clients|samples|(training|test|local) samples|classes|head classes|runs|seeds|methods|evaluations|workers|"
    "cores|steps|numbers|problems|models|updates|pictures|batches|epochs|client updates"
)
WRONG = re.compile(rf"(?<![\d.,-])\b1 ({COUNTED})\b[^\n]*")


def said(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def scenario(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One client (another one joins later), one round, one sample of a class."""
    monkeypatch.chdir(tmp_path)
    few = {
        **tiny,
        "data": {**tiny["data"], "longtail": {"profile": "step", "imbalance_factor": 30, "largest": 120},
                 "validation": 0.2},
        "federation": {**tiny["federation"], "clients": 2, "rounds": 1, "held_out": 1},
        "local": {**tiny["local"], "steps": 1},
    }  # fmt: skip
    Path("one.yaml").write_text(load_scenario(few).to_yaml(), encoding="utf-8")
    return "one.yaml"


def test_the_expression_finds_what_is_wrong() -> None:
    assert WRONG.search("toy: 1 clients with")
    assert not WRONG.search("21 clients, 1 client, 1.1 samples, 1-1 rounds")


def test_no_command_counts_one_of_something_in_the_plural(scenario: str) -> None:
    commands = [
        ("check", scenario),
        ("show", scenario, "--partition"),
        ("run", scenario, "-v"),
        ("sweep", scenario, "strategy=fedavg"),
        ("sweep", scenario, "strategy=fedprox", "local.lr=0.1", "--force", "-v"),
        ("compare", "runs", "--each", "strategy"),
    ]
    texts = {words: said(*words) for words in commands}
    run = next(Path("runs").glob("one-fedavg-*"))
    texts["join",] = said("join", str(run))
    said("report", str(run))
    texts["report",] = re.sub(r"<script.*?</script>", "", Path("report.html").read_text("utf-8"), flags=re.DOTALL)
    texts["wrong",] = said("run", scenario, "local.lr=-1", code=2)

    found = [f"{' '.join(words)}: {match.group()}" for words, text in texts.items() for match in WRONG.finditer(text)]
    assert not found, "\n".join(found)
    assert "1 client " in texts["run", scenario, "-v"]
    assert "1 round" in texts["run", scenario, "-v"]
