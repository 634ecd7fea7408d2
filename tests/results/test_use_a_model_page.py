"""What docs/howto/use-a-model.md shows is executed: models, exports, and runs that begin with weights."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedlt.commands.cli import app
from fedlt.config.scenario import load_scenario

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "use-a-model.md").read_text(encoding="utf-8")


def test_the_page_names_run_folders_as_they_are() -> None:
    made = (("digits_lt", "strategy=fedloge", "federation.rounds=5"), ("digits_lt",), ("cifar10_lt",))
    named = {load_scenario(name, list(changes)).run_name for name, *changes in made}
    assert set(re.findall(r"runs/([\w-]+)", PAGE)) == named


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    use, _, outside, features = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}  # the second example votes by three runs, which tests of their own make
    exec(use.replace("federation.rounds=5", "federation.rounds=2"), names)
    assert "('realigned', 'phi', 'psi', 'phi_psi', 'readme')" in capsys.readouterr().out
    exec(features, names)
    assert "KeptFeatures(generic model: train" in capsys.readouterr().out

    exports = [line for line in PAGE.splitlines() if line.startswith("fedlt export")]
    assert len(exports) == 3
    folder = str(names["run"].folder)
    for line in exports:
        words = [folder if word.startswith("runs/") else word for word in shlex.split(line)[1:]]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    exec(outside, {})
    assert '"class_names": ["0", "1"' in capsys.readouterr().out

    sweep = next(line for line in PAGE.splitlines() if line.startswith("fedlt sweep"))
    words = [re.sub(r"runs/\S+", folder, word) for word in shlex.split(sweep.replace("0-4", "0"))[1:]]
    done = CliRunner().invoke(app, [*words, "federation.rounds=1", "strategy=fedloge"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "runs").iterdir())) == 3
