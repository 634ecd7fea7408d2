"""What a sweep says while it goes on: the whole grid on a terminal, a line for each run in a pipe, or nothing."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fedlt.measures.headlines import headline
from fedlt.process.pace import LONG, Cadence
from fedlt.process.wording import clock, counted, duration
from fedlt.results.long_runs import HOUR, long_run
from fedlt.statistic import VALIDATION

if TYPE_CHECKING:
    from rich.table import Table

    from fedlt.results.runs import Run
    from fedlt.sweeps.grid import Job

Names = Collection[str]
Reasons = Mapping[str, str]
TEST_ONLY = 0.1
"""Work of a run that tests what another one trains, of which nothing is known before: about a tenth of a run's."""
FIRST = 10.0
"""Seconds after which a sweep in a pipe says how it goes, unless a run has ended before."""


class Listener(Protocol):
    """Hears what becomes of single runs.

    Attributes:
        failures: job -> what went wrong.
    """

    failures: dict[str, str]

    def started(self, job: Job) -> None: ...
    def round(self, job: Job, number: int, total: int) -> None: ...
    def line(self, job: Job, text: str) -> None: ...
    def ended(self, job: Job, run: Run) -> None: ...
    def failed(self, job: Job, error: str) -> None: ...


class View(Listener, Protocol):
    """Hears of the sweep as a whole, too."""

    def begin(
        self, jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Reasons, shared: Names = ()
    ) -> None: ...
    def close(self) -> None: ...


class Quiet:
    """Says nothing, and counts."""

    def __init__(self) -> None:
        self.failures: dict[str, str] = {}
        self.jobs: list[Job] = []
        self.done: dict[str, Run] = {}
        self.refused: dict[str, str] = {}
        self.rounds: dict[str, tuple[int, int]] = {}
        self.begun: dict[str, float] = {}
        self.left: set[str] = set()
        self.shared: frozenset[str] = frozenset()
        self.since = time.monotonic()

    def begin(
        self, jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Reasons, shared: Names = ()
    ) -> None:
        """The grid is known, and its runs begin.

        Args:
            jobs: the whole grid.
            done: those of them that were finished before.
            processes: runs side by side.
            refused: job -> why it cannot run.
            shared: names of jobs that test what another one of the grid trains.
        """
        self.jobs, self.done, self.refused = list(jobs), dict(done), dict(refused)
        self.left = {job.name for job in jobs if job.name not in done and job.name not in refused}
        self.shared = frozenset(shared)
        self.since = time.monotonic()

    def started(self, job: Job) -> None:
        """A run begins."""
        self.begun[job.name] = time.monotonic()

    def round(self, job: Job, number: int, total: int) -> None:
        """A round of a run is over."""
        self.rounds[job.name] = number, total

    def line(self, job: Job, text: str) -> None:
        """A run has an evaluation, in words."""

    def ended(self, job: Job, run: Run) -> None:
        """A run is finished."""
        self.done[job.name] = run

    def failed(self, job: Job, error: str) -> None:
        """A run has failed."""
        self.failures[job.name] = error

    def close(self) -> None:
        """The sweep is over, well or not."""


class Telling(Quiet):
    """What views that say something have alike.

    Attributes:
        verbose: also every evaluation of each run.
    """

    def __init__(self, verbose: bool = False) -> None:
        super().__init__()
        self.verbose = verbose
        self._hours_told = False

    def round(self, job: Job, number: int, total: int) -> None:
        """A round of a run is over. Say once if it all takes hours."""
        super().round(job, number, total)
        elapsed, left = time.monotonic() - self.since, self.seconds_left()
        if self._hours_told or left is None or elapsed < LONG or elapsed + left < HOUR:
            return
        self._hours_told = True
        what = "This run takes" if len(self.left) == 1 else f"These {len(self.left)} runs take"
        self.say(long_run(what, elapsed + left, job.scenario.federation.rounds))

    def line(self, job: Job, text: str) -> None:
        """A run has an evaluation, in words."""
        if self.verbose:
            self.say(f"{job.name}: {text}")

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def seconds_left(self) -> float | None:
        """The time left, from the rounds that are over; None before the first one."""
        work = {name: TEST_ONLY if name in self.shared else 1.0 for name in self.left}
        done = sum(work[name] * number / total for name, (number, total) in self.rounds.items() if name in work)
        share = done / sum(work.values()) if work else 1.0
        return (time.monotonic() - self.since) / share * (1 - share) if share else None


class Lines(Telling):
    """Plain lines, for pipes and log files: one for each run, and one now and then while a run goes on."""

    def begin(
        self, jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Reasons, shared: Names = ()
    ) -> None:
        """Say what the grid is, and that it begins."""
        super().begin(jobs, done, processes, refused, shared)
        print(heading(jobs, done, processes, refused, shared), flush=True)
        self._cadence = Cadence(FIRST)

    def round(self, job: Job, number: int, total: int) -> None:
        super().round(job, number, total)
        left = self.seconds_left()
        if number < total and left is not None and self._cadence.due():
            self._about(job, f"round {number}/{total}; about {duration(left)} to go in all")

    def ended(self, job: Job, run: Run) -> None:
        super().ended(job, run)
        self._about(job, f"{figures(run)}  [{duration(time.monotonic() - self.begun[job.name])}]")

    def failed(self, job: Job, error: str) -> None:
        super().failed(job, error)
        self._about(job, f"failed: {error.strip().splitlines()[0]}")

    def _about(self, job: Job, text: str) -> None:
        over = len(self.done) + len(self.failures) + len(self.refused)
        self.say(f"[{over}/{len(self.jobs)}] {job.name}: {text}")

    def say(self, text: str) -> None:
        super().say(text)
        self._cadence.said()


class Live(Telling):
    """The grid on a terminal, methods by seeds, with the time left."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(verbose)
        self._live: Any = None

    def begin(
        self, jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Reasons, shared: Names = ()
    ) -> None:
        """Show the table of the grid, which changes in place."""
        from rich.live import Live as Rich

        super().begin(jobs, done, processes, refused, shared)
        print(heading(jobs, done, processes, refused, shared))
        self._live = Rich(get_renderable=self.table, refresh_per_second=4)
        self._live.start()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Print a line above the grid."""
        self._live.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def table(self) -> Table:
        """Generic and personal accuracy of what is finished, rounds of what runs."""
        from rich import box
        from rich.table import Table

        seeds = sorted({job.seed for job in self.jobs})
        by_label: dict[str, dict[int, str]] = {}
        for job in self.jobs:
            by_label.setdefault(job.label, {})[job.seed] = self._state(job)
        rows = list(by_label.items())
        room = self._live.console.height - 8 if self._live is not None else len(rows)
        if len(rows) > room:  # those that are at work, then the others
            rows = sorted(rows, key=lambda row: not any("/" in text and "%" not in text for text in row[1].values()))
        table = Table(box=box.SIMPLE_HEAD, caption=self._clock(), caption_justify="left")
        held = any(job.scenario.data.validation.active for job in self.jobs)
        table.add_column(f"generic / personal accuracy in %{' on validation data' if held else ''}")
        for seed in seeds:
            table.add_column(f"seed {seed}", justify="right")
        for label, states in rows[: max(room, 1)]:
            table.add_row(label or self.jobs[0].scenario.name, *(states.get(seed, "") for seed in seeds))
        return table

    def _state(self, job: Job) -> str:
        """Where a job stands: its figures once it is done."""
        if job.name in self.refused:
            return "cannot run"
        if job.name in self.failures:
            return "failed"
        if job.name in self.done:
            return " / ".join(percent(self.done[job.name], kind) for kind in ("generic", "personal"))
        if job.name not in self.begun:
            return "·"
        number, total = self.rounds.get(job.name, (0, job.scenario.federation.rounds))
        return f"round {number}/{total}"

    def _clock(self) -> str:
        """How many runs are done, the time so far, and what is left."""
        ended = sum(name in self.done or name in self.failures for name in self.left)
        elapsed, left = time.monotonic() - self.since, self.seconds_left()
        to_go = f", about {clock(left)} left" if left else ""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"{ended} of {len(self.left)} done{failed}; {clock(elapsed)}{to_go}"


def view(verbose: bool = False) -> Live | Lines:
    """The view that suits the standard output."""
    return Live(verbose) if sys.stdout.isatty() else Lines(verbose)


def heading(jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Reasons, shared: Names = ()) -> str:
    """One line that says how much there is to do, and how it is done; beneath it, what cannot run."""
    seeds, labels = {job.seed for job in jobs}, {job.label for job in jobs}
    how = f"{processes} side by side" if processes > 1 else "one after the other"
    grid = f"{counted(len(labels), 'method')}, {counted(len(seeds), 'seed')}"
    cannot = f"{len(refused)} cannot run, " if refused else ""
    told = f" ({len(shared)} on another's training)" if shared else ""
    first = (
        f"{jobs[0].scenario.name}: {counted(len(jobs), 'run')} ({grid}), {len(done)} finished before, "
        f"{cannot}{len(jobs) - len(done) - len(refused)} to do{told}, {how}"
    )
    return "\n".join([first, *(f"cannot run: {line}" for line in by_reason(jobs, refused))])


def by_reason(jobs: Sequence[Job], reasons: Reasons) -> list[str]:
    """A line for each reason, with the labels of all jobs that it holds for: seeds share theirs.

    Args:
        reasons: job -> its reason; jobs without one are passed over.
    """
    labels: dict[str, dict[str, None]] = {}
    for job in jobs:
        if job.name in reasons:
            labels.setdefault(reasons[job.name], {})[job.label or job.name] = None
    return [f"{', '.join(held)}: {reason}" for reason, held in labels.items()]


def figures(run: Run) -> str:
    """`generic 82.0 %, personal 84.4 %` of the last evaluation, of the kinds of models that there are."""
    shown = ((kind, percent(run, kind)) for kind in ("generic", "personal"))
    told = ", ".join(f"{kind} {text} %" for kind, text in shown if text != "-")
    return f"on validation data {told}" if _has_validation(run) else told


def percent(run: Run, kind: str) -> str:
    """The headline figure of the last evaluation of a kind of model; `-` where there is none.

    On validation data where the run has some: who watches a sweep chooses by what is shown.
    """
    prefix = VALIDATION if _has_validation(run) else ""
    main = headline(run.final, run.figures.values())
    value = run.final.get(f"{prefix}{kind}/{main}", math.nan)
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _has_validation(run: Run) -> bool:
    return any(name.startswith(VALIDATION) for name in run.final)
