"""What commands share: arguments, and what becomes of errors."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedlt.commands.completion import complete_override, complete_scenario
from fedlt.errors import FedLTError, Interrupted, Problem, ScenarioError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from fedlt.results.runs import Run

ScenarioArgument = Annotated[str, typer.Argument(show_default=False, autocompletion=complete_scenario)]
Overrides = Annotated[list[str] | None, typer.Argument(show_default=False, autocompletion=complete_override)]

Paths = Annotated[list[str], typer.Argument(show_default=False)]

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and the run folder's path alone.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say more; errors with their whole traceback.")]

NamesOption = Annotated[
    list[str] | None, typer.Option("--name", help="What a row is called: ./mine.py:Mine=Ours; repeat it for others.")
]


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Errors of ours end with a message: 2 for what the user wrote, 1 for a run that failed, 130 for Ctrl-C and 143
    for SIGTERM.
    """

    @wraps(function)
    def safe(*args: Any, **kwargs: Any) -> None:
        """The command, whose errors are lines."""
        try:
            function(*args, **kwargs)

        # What the user can mend: a line, and 2 where the call is wrong.
        except FedLTError as error:
            if kwargs.get("verbose"):
                print(getattr(error, "remote_traceback", None) or traceback.format_exc(), file=sys.stderr)
            print("\n".join([f"error: {error}", *getattr(error, "__notes__", ())]), file=sys.stderr)
            raise typer.Exit(2 if isinstance(error, ScenarioError | UsageError) else 1) from None

        # A run that has kept a checkpoint: how to go on.
        except Interrupted as stop:
            print(f"{stop}:\n  {_going_on(sys.argv[1:])}", file=sys.stderr)
            raise typer.Exit(stop.exit_code) from None

        except KeyboardInterrupt:
            sweeps = function.__name__ == "sweep"
            told = f"; the same call skips what is finished:\n  {_going_on(sys.argv[1:])}" if sweeps else ""
            print(f"interrupted{told}", file=sys.stderr)
            raise typer.Exit(130) from None

    return safe


def named(paths: Sequence[str], reference: str, names: Sequence[str] | None) -> tuple[list[Run], str]:
    """The runs of the paths, called as `NamesOption` says, and what the reference is called then."""
    from fedlt.comparing.methods import collect
    from fedlt.comparing.own_names import parse_names, renamed
    from fedlt.comparing.short_names import of_file

    called = parse_names(names or ())
    runs = collect(paths)
    return renamed(runs, called) if called else runs, called.get(reference, of_file(reference, runs))


def finished(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Those that are finished, and the names and states of the others. Raises `ScenarioError` where none is."""
    kept = [run for run in runs if run.status == "finished"]
    left = [f"{run.folder.name} ({run.status}, round {run.summary['rounds']})" for run in runs if run not in kept]
    if not kept:
        raise ScenarioError(Problem("", f"there is no finished run{': ' * bool(left)}{', '.join(left)}"))
    return kept, left


def parse_seeds(text: str) -> list[int]:
    """The seeds of `0-2` or `0,3,7`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise ScenarioError(
                Problem("--seeds", f"expected a range such as 0-2 or a list such as 0,3,7, got {text!r}")
            )
        seeds += range(int(first), int(last or first) + 1)
    if not seeds:
        raise ScenarioError(Problem("--seeds", f"names no seed: {text!r}; write the smaller number first"))
    return seeds


def _going_on(arguments: list[str]) -> str:
    """The command that goes on with a stopped run: the same one, without what would start it elsewhere."""
    kept: list[str] = []
    for position, argument in enumerate(arguments):
        value = position > 0 and arguments[position - 1] == "--resume-from"
        if argument != "--force" and not argument.startswith("--resume-from") and not value:
            kept.append(argument)
    return "fedlt " + shlex.join(kept)


@contextmanager
def refused() -> Iterator[None]:
    """What a run cannot give is wrong input (exit 2), whatever of the run is missing."""
    try:
        yield
    except ScenarioError:
        raise
    except FedLTError as error:
        raise ScenarioError(Problem("", str(error))) from error


def figures_table(
    title: str, labels: Sequence[str], figures: pd.DataFrame, digits: int = 1, spread: pd.DataFrame | None = None
) -> Table:
    """A row for each label, with the figures of its row: whole numbers as they are, "-" where there is none.

    Args:
        spread: deviations of the same shape, which stand behind the figures that have one.
    """
    import numpy as np
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    shown.add_column("")
    for name in figures:
        shown.add_column(str(name), justify="right")

    def text(value: float, deviation: float) -> str:
        """A mean with its deviation."""
        if isinstance(value, int | np.integer):
            return f"{value:,}"
        if np.isnan(value):
            return "-"
        return f"{value:.{digits}f}" + ("" if np.isnan(deviation) else f" ± {deviation:.{digits}f}")

    deviations = np.full(figures.shape, np.nan) if spread is None else spread.to_numpy(float)
    for label, row, beside in zip(labels, figures.itertuples(index=False), deviations, strict=True):
        shown.add_row(label, *map(text, row, beside))
    return shown
