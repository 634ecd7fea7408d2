"""What a run says while it goes on: a progress line with the time left on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedlt.callback import Callback, RunState
from fedlt.process.files import from_here
from fedlt.results.next_steps import next_steps
from fedlt.results.summary import evaluation_line, final_table, plain, profile_table

if TYPE_CHECKING:
    from fedlt.results.runs import Run


class Console(Callback):
    """Prints the progress of one run.

    quiet: print nothing (the run folder holds it all). profile: show where the time of a round went. words: the
    scenario, overrides and options with which the run can be repeated, for what to try next; empty: not known.
    """

    def __init__(self, quiet: bool = False, profile: bool = False, words: Sequence[str] = ()) -> None:
        self.quiet, self.profile, self.words = quiet, profile, words
        self._live: Any = None
        self._task: Any = None
        self._started = time.monotonic()
        self._done = 0

    def on_start(self, run: RunState) -> None:
        """Say what is about to run."""
        scenario, federation, done = run.scenario, run.federation, run.round
        held, source = federation.clients.sizes, len(federation.train_targets)
        total, profile = f"{held.sum():,}", scenario.data.longtail.profile
        cut = f"{total} of the source's {source:,}, under a long tail: {profile}"
        self._print(
            f"{scenario.name}: {scenario.strategy.title}, {scenario.model.title}, {len(held)} clients with "
            f"{held.min()} to {held.max()} training samples ({cut if profile != 'none' else f'{total} in all'}), "
            f"{run.total_rounds} round{'s' if run.total_rounds > 1 else ''}"
            + (f", going on after round {done}" if done else "")
        )
        if federation.validation is not None:
            self._print(federation.validation.text())
        for line in run.remarks:
            self._print(line)

        self._done = done
        self._started = time.monotonic()
        if not self.quiet and sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("round"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
            self._live = Progress(*columns, transient=True)
            self._task = self._live.add_task("rounds", total=run.total_rounds, completed=done)
            self._live.start()

    def on_round(self, run: RunState) -> None:
        """Move the progress line on."""
        if self._live is not None:
            self._live.update(self._task, completed=run.round)

    def on_evaluation(self, run: RunState) -> None:
        """One line, with the seconds since the start and an estimate of those to go; also in the run's log."""
        number, total = run.round, run.total_rounds
        elapsed = time.monotonic() - self._started
        left = elapsed / max(1, number - self._done) * (total - number)
        clock = f"{elapsed:6.1f} s" + (f", {left:.0f} s to go" if number < total else "")
        line = f"{evaluation_line(number, total, run.figures)}  [{clock.strip()}]"
        run.log(line)
        self._print(line)

    def note(self, line: str) -> None:
        """Something that the user should know."""
        self._print(line)

    def close(self) -> None:
        """Take the progress line away; safe to call at any time."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def finished(self, run: Run, already: bool = False) -> None:
        """The table, what is off with the run, the next commands, and the run folder's path as the last line."""
        self.close()
        if self.quiet:
            return
        from rich.console import Console as Rich

        if already:
            print("already finished; --force runs it again")
        for table in (final_table(run), *([profile_table(run)] if self.profile else [])):
            if sys.stdout.isatty():
                Rich().print(table)
            else:
                print(plain(table))
        if run.summary.get("skipped"):
            print(f"{run.summary['skipped']} client updates were skipped after errors (federation.on_error=skip)")
        told = [f"{run.summary[name]} {name}" for name in ("dropped", "late", "arrived") if run.summary.get(name)]
        if told:
            print(f"client updates by the scenario's faults: {', '.join(told)}")
        if (spent := run.summary.get("epsilon")) is not None:
            print(f"privacy of one client's data: epsilon is {spent:.3g} (federation.links: dp)")
        if stopped := run.summary.get("stopped"):
            print(f"{stopped['by']} stopped the run after round {stopped['round']}: {stopped['reason']}")
        for warning in run.warnings:
            print(f"warning: {warning}")
        print(f"next: {' | '.join(next_steps(run, self.words))}")
        self.path(run)

    def path(self, run: Run) -> None:
        """The run folder's path."""
        if not self.quiet:
            print(from_here(run.folder), flush=True)

    def _print(self, line: str) -> None:
        if self.quiet:
            return
        if self._live is not None:
            self._live.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)
