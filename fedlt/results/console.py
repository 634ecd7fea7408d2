"""What a run says while it goes on: a progress line with the time left on a terminal, plain lines in a pipe."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fedlt.callback import Callback, RunState
from fedlt.process.files import from_here
from fedlt.process.pace import Cadence, Pace
from fedlt.process.wording import clock, counted, duration
from fedlt.results.long_runs import HOUR, costly_evaluations, idle_cores, long_run
from fedlt.results.next_steps import next_steps
from fedlt.results.summary import evaluation_line, final_table, plain, profile_table

if TYPE_CHECKING:
    from fedlt.process.bar import Bar
    from fedlt.results.runs import Run


FIRST = 2.0
"""Seconds after which a run in a pipe says how it goes, unless an evaluation has said so before."""


class Console(Callback):
    """Prints the progress of one run.

    Attributes:
        quiet: print nothing (the run folder holds it all).
        profile: show where the time of a round went.
        words: the scenario, overrides and options with which the run can be repeated, for what to try next; empty: not
            known.
        verbose: a line for every round.
        runs: what the command has to do from this run on, itself among it, to know whether it takes hours; 0: that is
            said already.
        going_on: whether more is printed below the run, so that it names no next commands.
    """

    def __init__(
        self,
        quiet: bool = False,
        profile: bool = False,
        words: Sequence[str] = (),
        verbose: bool = False,
        runs: int = 1,
        going_on: bool = False,
    ) -> None:
        self.quiet, self.profile, self.words, self.verbose = quiet, profile, words, verbose
        self.runs, self.going_on = runs, going_on
        self._bar: Bar | None = None
        self._pace = Pace(1, 1)
        self._cadence = Cadence(FIRST)

    def on_start(self, run: RunState) -> None:
        """Say what is about to run."""
        scenario, federation, done = run.scenario, run.federation, run.round
        held, source = federation.clients.sizes, len(federation.train_targets)
        total, profile = f"{held.sum():,}", scenario.data.longtail.profile
        cut = f"{total} of the source's {source:,}, under a long tail: {profile}"
        each = f"{held.min():,} to {held.max():,}" if held.min() < held.max() else f"{held.max():,}"
        self._print(
            f"{scenario.name}: {scenario.strategy.title}, {scenario.model.title}, {counted(len(held), 'client')} with "
            f"{each} training sample{'s' if held.max() != 1 else ''} "
            f"({cut if profile != 'none' else f'{total} in all'}), {counted(run.total_rounds, 'round')}"
            + (f", going on after round {done}" if done else "")
        )
        if federation.validation is not None:
            self._print(federation.validation.text())
        for line in run.remarks:
            self._print(line)

        self._pace = Pace(run.total_rounds, scenario.evaluation.every, done)
        self._cadence = Cadence(FIRST)
        if not self.quiet and sys.stdout.isatty():
            from rich.console import Console as Rich

            from fedlt.process.bar import Bar

            self._bar = Bar("round", run.total_rounds, done, self._clock, Rich())

    def on_round(self, run: RunState) -> None:
        """Move the progress line on; in a pipe, a line now and then. Once, a word if all this takes hours."""
        pace, row = self._pace, run.row
        pace.round(run.round, row.get("evaluate_seconds", 0.0) / row.get("workers", 1))
        if self.quiet:
            return
        loss = row.get("train_loss", math.nan)
        told = "" if math.isnan(loss) else f"training loss {loss:.3f}"
        left = pace.left()
        assert left is not None  # a round is over

        if self._bar is not None:
            self._bar.to(run.round, told)
        if self.verbose:
            trained = f"{counted(row['clients'], 'client')}, {counted(row['samples'], 'sample')}"
            self._print(f"round {run.round}/{run.total_rounds}  {', '.join(filter(None, [told, trained]))}, "
                        f"{duration(row['seconds'])}")  # fmt: skip
        elif self._bar is None and run.round < run.total_rounds and self._cadence.due():
            beside = "" if pace.evaluation is not None else ", evaluations not counted"
            words = [told, f"{duration(pace.seconds)} a round", f"about {duration(left)} to go{beside}"]
            self._print(f"round {run.round}/{run.total_rounds}  {', '.join(filter(None, words))}")
            self._cadence.said()
        self._warn_of_hours(run, pace.elapsed + left)

    def on_evaluation(self, run: RunState) -> None:
        """One line, with the time since the start and that to go; also in the run's log."""
        number, total = run.round, run.total_rounds
        self._pace.evaluated()
        left = self._pace.left()
        to_go = f", {duration(left)} to go" if number < total and left is not None and left >= 1 else ""
        line = f"{evaluation_line(number, total, run.figures)}  [{duration(self._pace.elapsed)}{to_go}]"
        run.log(line)
        self._print(line)
        self._cadence.said()

    def note(self, line: str) -> None:
        """Something that the user should know."""
        self._print(line)

    def close(self) -> None:
        """Take the progress line away; safe to call at any time."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

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

        for line in _notes(run):
            print(line)
        if not already and (costly := _costly_evaluations(run)):
            print(costly)
        if not self.going_on:
            self.ending(run)

    def ending(self, run: Run, seeds: Sequence[Run] = ()) -> None:
        """The next commands and the run folder's path, the last lines of a command.

        Args:
            seeds: all of its runs.
        """
        if not self.quiet:
            print(f"next: {' | '.join(next_steps(run, self.words, seeds))}")
        self.path(run)

    def path(self, run: Run) -> None:
        """The run folder's path."""
        if not self.quiet:
            print(from_here(run.folder), flush=True)

    def _clock(self) -> str:
        """The time left, beside the bar; that since the start while the first round goes on."""
        left = self._pace.left()
        return f"first round, {clock(self._pace.elapsed)}" if left is None else f"{clock(left)} left"

    def _warn_of_hours(self, run: RunState, seconds: float) -> None:
        """Say once if this run and those after it take hours.

        Args:
            seconds: of this run.
        """
        pace, row = self._pace, run.row
        if not self.runs or not pace.settled or self.runs * seconds < HOUR:
            return
        what = "This run takes" if self.runs == 1 else f"These {self.runs} runs take"
        evaluating = self.runs * (pace.evaluation or 0.0) * (run.total_rounds // run.scenario.evaluation.every + 1)
        cores = idle_cores(row["workers"], row["clients"], run.scenario.resources.device)
        self._print(long_run(what, self.runs * seconds, run.total_rounds, evaluating, cores))
        self.runs = 0

    def _print(self, line: str) -> None:
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.print(line)
        else:
            print(line, flush=True)


def _notes(run: Run) -> Iterator[str]:
    """Lines about a finished run beside its figures: missing updates, privacy, an early end, warnings."""
    summary = run.summary
    if summary.get("skipped"):
        updates = counted(summary["skipped"], "client update was", "client updates were")
        yield f"{updates} skipped after errors (federation.on_error=skip)"

    faults = [f"{summary[name]} {name}" for name in ("dropped", "late", "arrived") if summary.get(name)]
    if faults:
        yield f"client updates by the scenario's faults: {', '.join(faults)}"
    if (spent := summary.get("epsilon")) is not None:
        yield f"privacy of one client's data: epsilon is {spent:.3g} (federation.links: dp)"
    if stopped := summary.get("stopped"):
        yield f"{stopped['by']} stopped the run after round {stopped['round']}: {stopped['reason']}"
    yield from (f"warning: {warning}" for warning in run.warnings)


def _costly_evaluations(run: Run) -> str:
    """What is to be said where a run that trained itself spent most of its time on tests."""
    if "trained_by" in run.summary:
        return ""
    evaluation, rounds, evaluations = run.scenario["evaluation"], run.rounds, run.summary["evaluations"]
    if evaluations < 2:
        return ""
    tested = evaluation["clients"] or run.summary["clients"]
    evaluating = rounds["evaluate_seconds"].sum() * evaluations / (evaluations - 1)  # the last has no row of its own
    return costly_evaluations(rounds["train_seconds"].sum(), evaluating, evaluation["every"], evaluations, tested)
