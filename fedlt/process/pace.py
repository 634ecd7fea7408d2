"""How long a run still takes, from the rounds that it has had, and when there is time for a line about it."""

from __future__ import annotations

import time
from collections import deque
from statistics import fmean

RECENT = 20
"""Rounds that the time of one is a mean of: cohorts differ, and other programs come and go."""

AGAIN = 60.0
"""Seconds from line to line in a pipe, at least."""

LONG = 30.0
"""Seconds from which on a first round tells of the others, too."""


class Pace:
    """Knows the time left from the first round on. Rounds and evaluations, which are in few of them, count apart.

    Attributes:
        total: rounds of the run.
        every: rounds between two evaluations; the last round has one, too.
        done: rounds that an earlier process has done.
    """

    def __init__(self, total: int, every: int, done: int = 0) -> None:
        self.total, self.every, self.done = total, every, done
        self._first = done + 1
        self._started = self._last = time.monotonic()
        self._rounds: deque[float] = deque(maxlen=RECENT)
        self._evaluation: float | None = None  # seconds of the last one

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, or went on."""
        return time.monotonic() - self._started

    @property
    def known(self) -> bool:
        """Whether a round has been measured."""
        return bool(self._rounds)

    @property
    def settled(self) -> bool:
        """Whether more than the first round has been measured, which is slow where rounds are short."""
        return self.done > self._first or (self.known and self.elapsed >= LONG)

    @property
    def evaluation(self) -> float | None:
        """Seconds of an evaluation; None before the first one."""
        return self._evaluation

    @property
    def seconds(self) -> float:
        """Seconds of a round without an evaluation."""
        return fmean(self._rounds)

    def round(self, number: int, evaluating: float = 0.0) -> None:
        """A round is over.

        Args:
            evaluating: seconds that went into testing the models of the round before, where due.
        """
        now = time.monotonic()
        evaluated = number > 1 and (number - 1) % self.every == 0
        evaluating = evaluating if evaluated else 0.0  # the clock is read where there is nothing to do, too
        if number == self._first + 1:
            self._rounds.clear()  # libraries are loaded and memory is claimed in the first one
        self._rounds.append(max(0.0, now - self._last - evaluating))
        if evaluated:
            self._evaluation = evaluating
        self.done, self._last = number, now

    def evaluated(self) -> None:
        """An evaluation is over, as part of the exchange of a round that is not told yet."""
        if self._evaluation is None and self.known:
            self._evaluation = max(0.0, time.monotonic() - self._last - self.seconds)

    def left(self) -> float | None:
        """Seconds until the end of the run; None before the first round's end.

        Before the first evaluation without evaluations, as `evaluation` tells.
        """
        if not self.known:
            return None
        evaluations = (self.total - 1) // self.every - (self.done - 1) // self.every + 1
        whole = (self.total - self.done) * self.seconds + evaluations * (self._evaluation or 0.0)
        return max(0.0, whole - (time.monotonic() - self._last))


class Cadence:
    """When a line in a pipe is due that says how far a long piece of work is: often enough to be useful, no flood.

    Then a line every minute at most, and rarer as time goes on: every twentieth of the time so far.

    Attributes:
        first: seconds until the first one, unless something else is said before.
    """

    def __init__(self, first: float) -> None:
        self._started = self._said = time.monotonic()
        self._wait = first

    def due(self) -> bool:
        """Whether it is time for a line."""
        return time.monotonic() - self._said >= self._wait

    def said(self) -> None:
        """A line was printed, of whatever kind."""
        self._said = time.monotonic()
        self._wait = max(AGAIN, (self._said - self._started) / 20)
