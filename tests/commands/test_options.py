"""Options of the command line: those that every command has, and keys that are typed as options."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import fedlt
from fedlt.commands.cli import app

COMMANDS = sorted(
    str(command.name or command.callback.__name__) for command in app.registered_commands if command.callback
)


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"fedlt {fedlt.__version__}\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_a_short_form_and_no_escapes(command: str) -> None:
    words = [command] if command else []
    short, long = (CliRunner().invoke(app, [*words, flag], prog_name="fedlt") for flag in ("-h", "--help"))
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert short.stdout.startswith(f"Usage: fedlt {command}".rstrip())
    assert "\\" not in short.stdout


@pytest.mark.parametrize("width", [80, 110])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_terminal_and_cuts_nothing(command: str, width: int) -> None:
    words = [command] if command else []
    shown = CliRunner(env={"COLUMNS": str(width)}).invoke(app, [*words, "-h"], prog_name="fedlt").stdout
    assert max(map(len, shown.splitlines())) <= width
    assert "..." not in shown.partition("Commands:")[2], "a line about a command is cut"


@pytest.mark.parametrize(
    ("typed", "told"),
    [("rnu", "'rnu'; did you mean 'run'?"), ("zzz", "'zzz'; known: analyse, check, compare, completion")],
)
def test_an_unknown_command_gets_the_nearest_one_once(typed: str, told: str) -> None:
    result = CliRunner().invoke(app, [typed])
    assert result.exit_code == 2
    assert f"there is no command {told}" in result.stderr
    assert "Did you mean" not in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["strategy=fedavg,fedprox", "--seeds", "0-1"], "fedlt sweep digits_lt strategy=fedavg,fedprox --seeds 0-1"),
        (["local.lr=0.1,0.3"], "fedlt sweep digits_lt local.lr=0.1,0.3"),
        (["strategy=fedpro"], ""),
        (["local.lr=[0.1,0.3]"], ""),
        (["local.lr=[0.1,"], ""),
    ],
)
def test_several_values_for_a_run_end_with_the_sweep_to_type(words: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["run", "digits_lt", *words])
    assert result.exit_code == 2
    assert result.stderr.partition("several values of a key are a sweep: ")[2].strip() == told


def test_a_module_is_named_like_the_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "fedlt", "run", "-h"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("Usage: fedlt run [OPTIONS]")


@pytest.mark.parametrize(
    ("typed", "told", "command"),
    [
        ("run --rounds 5", "--rounds: no option of fedlt run; the key is federation.rounds (or", "federation.rounds=5"),
        ("run digits_lt --lr=0.1 --out there", "--lr: no option", "digits_lt local.lr=0.1 --out there"),
        ("run --strategy fedloge --seeds 0-2", "the key is strategy\n", "strategy=fedloge --seeds 0-2"),
        ("run --seed 3 digits_lt", "the key is seed\n", "digits_lt seed=3"),
        ("run strategy=fedprox --mu 0.1", "the key is strategy.mu\n", "strategy=fedprox strategy.mu=0.1"),
        ("run --mu 0.1", "strategy.mu, of strategy=fedprox or moon\n", "strategy=fedprox strategy.mu=0.1"),
        ("run --nesterov --batch-size 8", "--batch-size: no option", "local.nesterov=true local.batch_size=8"),
        ("run --force --epochs 2 --profile", "the key is local.epochs\n", "local.epochs=2 --force --profile"),
        ("sweep --lr 0.1,0.3 --parallel 2", "no option of fedlt sweep", "local.lr=0.1,0.3 --parallel 2"),
    ],
)
def test_a_key_typed_as_an_option_ends_with_the_command_to_type(typed: str, told: str, command: str) -> None:
    result = CliRunner().invoke(app, typed.split())
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.endswith(f"keys are written key=value:\n  fedlt {typed.split()[0]} {command}\n")


@pytest.mark.parametrize("typed", ["run --output x", "run --mu 3 --qqq", "compare runs --rounds 5"])
def test_other_unknown_options_are_refused_as_ever(typed: str) -> None:
    result = CliRunner().invoke(app, typed.split())
    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert "key=value:" not in result.stderr
