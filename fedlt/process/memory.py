"""The memory of this process: what the C library does with freed memory, and how much there is at most."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's <malloc.h>
KEPT = 2**30  # bytes: blocks up to this size are kept, and as much at the end of the heap
CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")  # variables by which a user chooses


def give_back() -> None:
    """Return whatever whole pages are free; some milliseconds. Nothing happens where the C library cannot do it.

    The C library keeps them otherwise, cut by small objects that live on into pieces which the next model does not fit
    into: a long run would seem to grow.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def keep_freed() -> None:
    """From now on this process keeps what it frees until `give_back`.

    The activations of a training step are freed at its end, and together are more than the C library holds on to: it
    would return them and get them again page by page (for a ResNet-8 on Ray, 20,000 pages a second). Nothing
    happens without glibc, nor where the user has chosen otherwise by the environment.
    """
    choose = _of_glibc("mallopt")
    if choose is not None and not any(name in os.environ for name in CHOSEN):
        choose(M_MMAP_THRESHOLD, KEPT)
        choose(M_TRIM_THRESHOLD, KEPT)


@dataclass
class HighWater:
    """The largest memory of the process within a block.

    Attributes:
        before: bytes that the process held when the block began.
        peak: the most that it held since, after the block.
    """

    before: int = 0
    peak: int = 0


@contextmanager
def high_water() -> Iterator[HighWater]:
    """How much memory a block takes, beyond what there was; without Linux's counters, beyond the most so far."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is now what there is
    found = HighWater(before=_held("VmRSS"))
    yield found
    found.peak = max(found.before, _held("VmHWM"))


def _held(counter: str) -> int:
    """Bytes by a counter of Linux, or else the most that the process ever held."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{counter}:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), name)  # type: ignore[no-any-return]
    except (AttributeError, OSError):
        return None
