"""What the README promises: its strategy runs, its commands exist, and the pages beside it say what the code says."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fedlt
from benchmarks.quoted import families, measured
from fedlt.commands.cli import app
from fedlt.commands.listing import listing
from fedlt.config import catalog

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_the_readmes_strategy_runs_and_is_not_fedavg(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = [block for block in blocks("python") if block.startswith("# balanced.py")]
    assert len([line for line in source.splitlines() if line.strip() and not line.startswith("#")]) <= 15
    (tmp_path / "balanced.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    hashes = {
        text: fedlt.run(tiny, *text.split(), out=tmp_path).summary["model_hash"]
        for text in (
            "strategy=fedavg",
            "strategy=./balanced.py:Balanced strategy.tau=0",
            "strategy=./balanced.py:Balanced strategy.tau=0.5",
        )
    }
    plain, neutral, balanced = hashes.values()
    assert plain == neutral
    assert plain != balanced


def test_the_readmes_other_parts_run(tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learner, a metric and a model in one file, and in one run."""
    (source,) = [block for block in blocks("python") if block.startswith("# parts.py")]
    (tmp_path / "parts.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    parts = ["learner=./parts.py:Focal", "evaluation.metrics=[./parts.py:Second]", "model=./parts.py:net"]
    run = fedlt.run(tiny, *parts, "model.width=8", "federation.rounds=1", out=tmp_path)
    assert run.final["generic/accuracy"] <= run.final["generic/top_2"] <= 1
    assert run.scenario["model"]["width"] == 8


def test_the_readmes_other_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = [block for block in blocks("python") if block.startswith("import fedlt")]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(source.replace("federation.rounds=5", "federation.rounds=1"), names)
    assert names["run"].status == "finished"


def test_every_command_of_the_readme_exists() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    named = set(re.findall(r"^(?:.*&& )?fedlt (\w+)", "\n".join(blocks("text") + blocks("bash")), flags=re.MULTILINE))
    assert named
    assert named <= commands


@pytest.mark.slow
def test_every_scenario_opens_with_a_command_that_is_accepted(tmp_path: Path) -> None:
    for path in sorted((ROOT / "scenarios").glob("*.yaml")):
        first = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        commands = [re.search(r"fedlt run (.*?)(?:\s{2,}|$)", line) for line in first]
        assert any(commands), path
        for match in filter(None, commands):
            words = [word for word in shlex.split(match.group(1)) if not word.startswith("--") and word != "0-2"]
            shown = CliRunner().invoke(app, ["show", *(words or ["digits_lt"])])
            assert shown.exit_code == 0, (path, words, shown.output)


def test_the_page_of_keys_is_complete() -> None:
    page = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    for row in listing("keys"):
        assert f"{row['name']} " in page
        assert row["summary"] in page
        assert not row["summary"].endswith("] "), f"{row['name']} has no comment"


def test_the_map_names_every_folder_and_nothing_else() -> None:
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()] + [".*"]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    kept = {name for name in folders if not any(fnmatch(name, pattern) for pattern in ignored)}
    cells = re.findall(r"^\| (`\w+/`(?:, `\w+/`)*) \|", README, flags=re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)/`", cell)} == kept


def test_the_map_for_contributors_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:fedlt|tests|docs|benchmarks|strategies|scenarios)/[\w/.-]*)`", text))
    assert len(named) > 25
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_pitfalls_quote_what_a_mask_is_worth() -> None:
    """FedAvg's personal and masked figures on the default scenario, from the committed table."""
    personal, masked = (
        measured.mean(measured.rows("digits")["fedavg", f"{model}/accuracy"], spread=False)
        for model in ("personal", "personal_masked")
    )
    pitfalls = " ".join((ROOT / "docs" / "pitfalls.md").read_text("utf-8").split())
    assert f"from {personal} % to {masked} %" in pitfalls


def test_every_method_stands_in_one_family() -> None:
    for kind, grouped in (("strategy", families.STRATEGIES), ("learner", families.LEARNERS)):
        named = [name for _, names in grouped.values() for name in names if ":" not in name]
        assert sorted(named) == catalog.names(kind), "benchmarks/quoted/families.py"
