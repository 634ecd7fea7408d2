"""Completion: what is offered at a place of the line, and that shells take it as they are told."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from fedlt.commands import completion
from fedlt.commands.cli import app


def offered(line: str, shell: str = "zsh", **environment: str) -> list[str]:
    """What is offered at the end of the line, one a completion, as the shell gets it."""
    kind = {"bash": completion.BashComplete, "zsh": completion.ZshComplete}[shell]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"COMP_LINE": line, **environment}.items():
            patch.setenv(name, value)
        return kind(typer.main.get_command(app), {}, "fedlt", completion.VARIABLE).complete().splitlines()


def values(line: str) -> list[str]:
    return [found.partition("\t")[0] for found in offered(line)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("fedlt sh", ["show"]),
        ("fedlt run --resu", ["--resume-from"]),
        ("fedlt run tiny", ["tiny_imagenet_lt"]),
        ("fedlt cp tiny", ["tiny_imagenet_lt"]),
        ("fedlt run local.l", ["local.last_batch=", "local.lr="]),
        ("fedlt run digits_lt strategy=fedpe", ["strategy=fedper"]),
        ("fedlt run strategy=flower:FedAda", ["strategy=flower:FedAdagrad", "strategy=flower:FedAdam"]),
        ("fedlt run strategy=fedprox strategy.", ["strategy.mu="]),
        ("fedlt run strategy.", []),
        ("fedlt run local.last_batch=", ["local.last_batch=keep", "local.last_batch=merge", "local.last_batch=drop"]),
        ("fedlt run local.nesterov=", ["local.nesterov=true", "local.nesterov=false"]),
        ("fedlt sweep strategy=fedavg,fedpe", ["strategy=fedavg,fedper"]),
        (
            "fedlt run ~federation.par",
            [
                "~federation.participation",
                "~federation.partition",
                "~federation.partition.alpha",
                "~federation.partition.seed",
            ],
        ),
        ("fedlt ls par", ["partitions"]),
        ("fedlt explain federation.late.c", ["federation.late.chance"]),
        ("fedlt explain masked", ["masked"]),
        ("fedlt plot runs --kind c", ["curves", "clients", "classes", "collapse", "calibration"]),
        ("fedlt compare runs --format l", ["latex"]),
        ("fedlt completion ", ["bash", "zsh", "fish"]),
        ("fedlt run data.name=./some", []),
    ],
)
def test_what_fits_is_offered(line: str, found: list[str]) -> None:
    assert values(line) == found


def test_an_empty_word_gets_scenarios_and_sections() -> None:
    found = values("fedlt run ")
    assert {"digits_lt", "local.", "federation.", "strategy="} <= set(found)
    assert "local.lr=" not in found
    assert "digits_lt" not in values("fedlt run digits_lt ")
    assert offered("fedlt run seed") == ["seed=\teverything that is random follows from it"]


def test_bash_gets_what_follows_a_break_of_words() -> None:
    breaks = {"COMP_WORDBREAKS": " \t\n\"'><=;|&(:"}
    assert offered("fedlt run strategy=fedpe", "bash", **breaks) == ["fedper"]
    assert offered("fedlt run strategy=flower:FedAdag", "bash", **breaks) == ["FedAdagrad"]
    assert offered("fedlt run strategy=flower:FedAdag", "bash", COMP_WORDBREAKS=" ") == ["strategy=flower:FedAdagrad"]


def test_an_answer_imports_nothing_heavy() -> None:
    code = (
        "from fedlt.commands.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "import sys; assert not {'torch', 'numpy', 'pandas', 'flwr', 'ray'} & set(sys.modules)"
    )
    asked = {"COMP_LINE": "fedlt run strategy=fedprox strategy.m", completion.VARIABLE: "complete_fish"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert done.stdout == "strategy.mu=\tweight of the proximal term\n"


def test_the_script_is_that_of_the_shell_asked_for_or_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert CliRunner().invoke(app, ["completion"]).stdout == completion.FISH + "\n"
    assert CliRunner().invoke(app, ["completion", "bash"]).stdout == completion.BASH + "\n"
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    wrong = CliRunner().invoke(app, ["completion"])
    assert (wrong.exit_code, "expected one of bash, zsh, fish, got 'tcsh'" in wrong.stderr) == (2, True)


# In the shells themselves ---------------------------------------------------------------------------------------------

SHELLS = {
    "bash": (["bash", "--norc", "-i"], ['eval "$(REAL=1 fedlt completion bash)"']),
    "zsh": (["zsh", "-f", "-i"], ["autoload -Uz compinit; compinit -u", 'eval "$(REAL=1 fedlt completion zsh)"']),
    "fish": (["fish", "--private", "--no-config", "-i"], ["REAL=1 fedlt completion fish | source"]),
}

FAKE = """#!/bin/sh
[ -n "$REAL$_FEDLT_COMPLETE" ] && exec {python} -m fedlt "$@"
printf 'typed:%s\\n' "$*"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "shown", "taken"),
    [
        ("fedlt run strategy=fedgr", "strategy=fedgrab", "run strategy=fedgrab 3"),
        ("fedlt run local.ep", "ochs=", "run local.epochs=3"),
    ],
)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_completes_the_line(shell: str, typed: str, shown: str, taken: str, tmp_path: Path) -> None:
    """Types the line, a tab, `3` and enter into the shell, before a command that says what it was given."""
    command, setup = SHELLS[shell]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    fake = tmp_path / "bin" / "fedlt"
    fake.parent.mkdir()
    fake.write_text(FAKE.format(python=sys.executable), encoding="utf-8")
    fake.chmod(0o755)
    root = Path(completion.__file__).resolve().parents[2]
    environment = os.environ | {
        "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "TERM": "dumb",
        "PATH": f"{fake.parent}:{os.environ['PATH']}", "PYTHONPATH": str(root),
    }  # fmt: skip

    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvpe(command[0], command, environment)
    try:
        for number, line in enumerate(setup):
            os.write(terminal, f"{line}; echo ready''{number}\n".encode())
            assert _until(terminal, f"ready{number}"), "the shell does not start"
        os.write(terminal, f"{typed}\t".encode())
        assert _until(terminal, shown), "the tab completes nothing"
        os.write(terminal, b"3\n")
        assert _until(terminal, f"typed:{taken}")
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)


def _until(terminal: int, text: str, seconds: float = 30.0) -> bool:
    """Whether the terminal shows the text before that time is over."""
    seen, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if ready:
            try:
                seen += os.read(terminal, 65536)
            except OSError:  # the shell is gone
                return False
            if text.encode() in seen:
                return True
    print(seen.decode(errors="replace"))
    return False
