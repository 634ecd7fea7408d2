"""Ctrl-C and SIGTERM end a run between two rounds, or at once where a round has no end; so does a second one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

GRACE = 60.0
"""Seconds without an answer of a worker after which a round is said to make no progress, at least; or three times the
longest that the run has waited for one so far."""

LAST = 10.0
"""Seconds that the process has for putting things in order once it stops at once; code may catch every exception."""


class Interrupts:
    """Notes signals that ask for the end of the run, so that the round under way may end first.

    Attributes:
        number: the signal that asked for the end, or None.
        say: tells the user that it was heard.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.number: int | None = None
        self._say = say
        self._before: dict[signal.Signals, Any] = {}
        self._left = threading.Event()
        self._last, self._longest = time.monotonic(), 0.0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Signals are noted within the block. Python hears them in the main thread only; elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        self._last = time.monotonic()
        try:
            yield
        finally:
            self._left.set()
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def beat(self) -> None:
        """Say that the run makes progress."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last)
        self._last = now

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Hear a signal: the first one asks for the end of the round, the second for the end at once."""
        if self.number is not None:
            threading.Thread(target=self._end, daemon=True).start()
            raise KeyboardInterrupt
        self.number = number
        self._say("stopping after this round; once more stops at once")
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Send the signal once more where the round makes no progress."""
        assert self.number is not None
        while not self._left.wait(min(1.0, GRACE / 4)):
            idle = time.monotonic() - self._last
            if idle > max(GRACE, 3 * self._longest):
                self._say(f"the round has made no progress for {idle:.0f} s: stopping at once")
                os.kill(os.getpid(), self.number)
                return

    def _end(self) -> None:
        """End the process where it does not end by itself in time."""
        if not self._left.wait(LAST):
            os._exit(128 + (self.number or 0))
