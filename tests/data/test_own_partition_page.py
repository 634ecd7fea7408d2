"""The pages of partitions: the how-to's files are written, its commands run, and every built-in one is described."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedlt.commands.cli import app
from fedlt.config import catalog

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "howto" / "own-partition.md"
CLIENTS = {"clients.csv": 12, "Neighbours": 10}


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = 0
    for language, text in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", text)
        if name:
            Path(name[1]).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(text, {})
        for line in text.replace("\\\n", " ").splitlines() if language == "text" else ():
            program, *arguments = shlex.split(line)
            commands += 1
            if program == "python":
                subprocess.run([sys.executable, *arguments], check=True)
                continue
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == 0, done.output
            if "--partition" in arguments:
                clients = next(number for word, number in CLIENTS.items() if word in line)
                assert f"{clients} clients (min" in done.output
    assert commands == 5
    assert len(list(tmp_path.glob("runs/*/run.json"))) == 2


def test_every_partition_is_described() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "partitions.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(catalog.names("partition")) <= set(rows)
