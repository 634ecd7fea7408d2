"""How far a long piece of work is: a bar with the time left on a terminal, a line every ten seconds in a pipe."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fedlt.process.wording import clock

if TYPE_CHECKING:
    from fedlt.process.bar import Bar

TELLING = 10.0  # seconds between two lines


class Progress:
    """Tells on standard error, which leaves the lines of standard output to the results.

    Attributes:
        what: is being done.
        unit: what is counted.
        total: of it.
        done: what an earlier call has done.
    """

    def __init__(self, what: str, unit: str, total: int, done: int = 0) -> None:
        self.what, self.unit, self.total, self.done = what, unit, total, done
        self._before = done
        self._started = self._told = self._last = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console

            from fedlt.process.bar import Bar

            self._bar = Bar(self.what, self.total, self.done, self._left, Console(stderr=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int) -> None:
        """So much more is done."""
        self.done += count
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.to(self.done)
        elif self._last - self._told >= TELLING:
            self._told = self._last
            done = f"{self.done:,} of {self.total:,} {self.unit}"
            print(f"{self.what}: {done}, {self._left()}", file=sys.stderr, flush=True)

    def _left(self) -> str:
        """The time left, as the pace since the start has it."""
        if self.done == self._before:
            return ""
        pace = (self._last - self._started) / (self.done - self._before)
        return f"{clock(max(0.0, pace * (self.total - self.done) - (time.monotonic() - self._last)))} left"
