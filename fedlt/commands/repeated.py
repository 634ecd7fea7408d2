"""The runs of `fedlt run`: one, or one for each seed with a table of them all at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.process.files import from_here
from fedlt.results.console import Console
from fedlt.sweeps.grids import Grids
from fedlt.sweeps.run import run_scenario

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.results.runs import Run
    from fedlt.results.trackers import Track


def run_each(
    scenarios: Sequence[Scenario],
    settings: dict[str, Any],
    out: Path,
    force: bool,
    command: str,
    track: Track = (),
    resume_from: int | None = None,
    name: str = "",
) -> None:
    """Run the scenarios, which differ in their seeds, one after the other.

    The other arguments are those of `run_scenario`.

    Args:
        settings: of the `Console`.
    """
    runs: list[Run] = []
    told = False  # whether it takes hours
    with Grids() as grids:
        for left, scenario in zip(range(len(scenarios), 0, -1), scenarios, strict=True):
            console = Console(**settings, runs=0 if told else left, going_on=len(scenarios) > 1)
            runs.append(run_scenario(scenario, out, console, force, command, grids, track, resume_from, name=name))
            told |= console.runs == 0
            if settings["quiet"] or left > 1:
                print(from_here(runs[-1].folder), flush=True)

    if len(runs) > 1 and not settings["quiet"]:
        _print_together(runs)
        console.ending(runs[-1], runs)


def _print_together(runs: Sequence[Run]) -> None:
    """The table of all seeds, as the terminal is wide or as text."""
    from fedlt.comparing.seeds import seeds_table
    from fedlt.results.summary import plain

    table = seeds_table(runs)
    if not sys.stdout.isatty():
        print(plain(table))
        return
    from rich.console import Console as Rich

    Rich().print(table)
