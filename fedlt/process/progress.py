"""How far a long piece of work is: a bar with the time left on a terminal, a line every ten seconds in a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

TELLING = 10.0  # seconds between two lines


class Progress:
    """Tells on standard error, which leaves the lines of standard output to the results.

    what: is being done. unit: what is counted. total: of it. done: what an earlier call has done.
    """

    def __init__(self, what: str, unit: str, total: int, done: int = 0) -> None:
        self.what, self.unit, self.total, self.done = what, unit, total, done
        self._before = done
        self._started = self._told = time.monotonic()
        self._live: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Rich

            columns = (TextColumn("{task.description}"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
            self._live = Rich(*columns, console=Console(stderr=True), transient=True)
            self._task = self._live.add_task(self.what, total=self.total, completed=self.done)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def advance(self, count: int) -> None:
        """So much more is done."""
        self.done += count
        if self._live is not None:
            self._live.update(self._task, completed=self.done)
            return

        now, left = time.monotonic(), self.total - self.done
        if now - self._told >= TELLING:
            self._told = now
            seconds = round((now - self._started) / (self.done - self._before) * left)
            done = f"{self.done:,} of {self.total:,} {self.unit}"
            print(f"{self.what}: {done}, {clock(seconds)} left", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, as 3:07."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"
