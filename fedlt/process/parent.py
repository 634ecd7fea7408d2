"""A worker process that does not outlive the one that forked it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from types import FrameType

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def end_with(parent: int, orphaned: Callable[[], None] = lambda: None) -> None:
    """From now on this process ends on SIGTERM, which the system sends when the parent is gone: an endless loop would
    outlive it. Ctrl-C, which reaches all processes of a terminal, is left to the parent.

    Args:
        parent: its id.
        orphaned: is called before the end where the parent is gone.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent:
            orphaned()
        os._exit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)  # not the parent's handler, which a fork inherits
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before
        end(signal.SIGTERM, None)
