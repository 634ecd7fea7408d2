"""What stands between a client's own code and everybody's results: a limit of time, and reports of failures."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from fedlt.config.own_lines import told
from fedlt.errors import FedLTError
from fedlt.exchange import Failure

AGAIN = 1.0  # seconds after which a client that has caught the first alarm hears another

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


class TooLong(BaseException):
    """A client has passed its limit. No `Exception`: a client that catches those must not catch this one."""


@contextmanager
def guard(clients: list[int], purpose: str, failures: list[Failure], limit: float | None) -> Iterator[None]:
    """Any error of the clients' own code becomes a failure of each of them.

    Args:
        limit: seconds that the block may take.
    """
    try:
        with alarm(limit):
            yield
    except (Exception, TooLong) as error:
        what = told(error), traceback.format_exc(), purpose, is_out_of_memory(error)
        failures += [Failure(client, *what) for client in clients]


@contextmanager
def alarm(limit: float | None) -> Iterator[None]:
    """Raise `TooLong` in the block after `limit` seconds.

    Python code, sleeping and waiting are interrupted; a call into native code that never returns is not.
    """
    if limit is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise FedLTError("federation.timeout works in the main thread of a process only; take null, or another backend")

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"the client took longer than federation.timeout, {limit:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of this machine or of its GPU ran out, which says nothing about the client."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
