"""What a sweep says while it goes on: the whole grid on a terminal, a line for each run in a pipe, or nothing."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fedlt.measures.headlines import headline
from fedlt.statistic import VALIDATION

if TYPE_CHECKING:
    from rich.table import Table

    from fedlt.results.runs import Run
    from fedlt.sweeps.grid import Job


class Listener(Protocol):
    """Hears what becomes of single runs. failures: job -> what went wrong."""

    failures: dict[str, str]

    def started(self, job: Job) -> None: ...
    def round(self, job: Job, number: int, total: int) -> None: ...
    def ended(self, job: Job, run: Run) -> None: ...
    def failed(self, job: Job, error: str) -> None: ...


class View(Listener, Protocol):
    """Hears of the sweep as a whole, too."""

    def begin(
        self, jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Mapping[str, str]
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

    def begin(self, jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Mapping[str, str]) -> None:
        """jobs: the whole grid. done: those of them that were finished before. processes: runs side by side.
        refused: job -> why it cannot run."""
        self.jobs, self.done, self.refused = list(jobs), dict(done), dict(refused)
        self.left = {job.name for job in jobs if job.name not in done and job.name not in refused}

    def started(self, job: Job) -> None:
        """A run begins."""
        self.begun[job.name] = time.monotonic()

    def round(self, job: Job, number: int, total: int) -> None:
        """A round of a run is over."""
        self.rounds[job.name] = number, total

    def ended(self, job: Job, run: Run) -> None:
        """A run is finished."""
        self.done[job.name] = run

    def failed(self, job: Job, error: str) -> None:
        """A run has failed."""
        self.failures[job.name] = error

    def close(self) -> None:
        """The sweep is over, well or not."""


class Lines(Quiet):
    """Plain lines, one for each run: for pipes and log files."""

    def begin(self, jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Mapping[str, str]) -> None:
        super().begin(jobs, done, processes, refused)
        print(heading(jobs, done, processes, refused), flush=True)

    def ended(self, job: Job, run: Run) -> None:
        super().ended(job, run)
        self._say(job, f"{figures(run)}  [{time.monotonic() - self.begun[job.name]:.1f} s]")

    def failed(self, job: Job, error: str) -> None:
        super().failed(job, error)
        self._say(job, f"failed: {error.strip().splitlines()[0]}")

    def _say(self, job: Job, text: str) -> None:
        over = len(self.done) + len(self.failures) + len(self.refused)
        print(f"[{over}/{len(self.jobs)}] {job.name}: {text}", flush=True)


class Live(Quiet):
    """The grid on a terminal, methods by seeds, with the time left."""

    def __init__(self) -> None:
        super().__init__()
        self._live: Any = None
        self._since = time.monotonic()

    def begin(self, jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Mapping[str, str]) -> None:
        from rich.live import Live as Rich

        super().begin(jobs, done, processes, refused)
        self._since = time.monotonic()
        print(heading(jobs, done, processes, refused))
        self._live = Rich(get_renderable=self.table, refresh_per_second=4)
        self._live.start()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

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
        ended = sum(name in self.done or name in self.failures for name in self.left)
        parts = [number / total for name, (number, total) in self.rounds.items() if name in self.left]
        share = sum(parts) / len(self.left) if self.left else 1.0
        elapsed = time.monotonic() - self._since
        to_go = f", about {elapsed / share * (1 - share):.0f} s to go" if 0 < share < 1 else ""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"{ended} of {len(self.left)} done{failed}; {elapsed:.0f} s{to_go}"


def view() -> Live | Lines:
    """The view that suits the standard output."""
    return Live() if sys.stdout.isatty() else Lines()


def heading(jobs: Sequence[Job], done: Mapping[str, Run], processes: int, refused: Mapping[str, str]) -> str:
    """One line that says how much there is to do, and how it is done; beneath it, what cannot run."""
    seeds, labels = {job.seed for job in jobs}, {job.label for job in jobs}
    how = f"{processes} side by side" if processes > 1 else "one after the other"
    grid = f"{_count(len(labels), 'method')}, {_count(len(seeds), 'seed')}"
    cannot = f"{len(refused)} cannot run, " if refused else ""
    first = (
        f"{jobs[0].scenario.name}: {_count(len(jobs), 'run')} ({grid}), {len(done)} finished before, "
        f"{cannot}{len(jobs) - len(done) - len(refused)} to do, {how}"
    )
    return "\n".join([first, *(f"cannot run: {line}" for line in by_reason(jobs, refused))])


def by_reason(jobs: Sequence[Job], reasons: Mapping[str, str]) -> list[str]:
    """A line for each reason, with the labels of all jobs that it holds for: seeds share theirs.

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


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
