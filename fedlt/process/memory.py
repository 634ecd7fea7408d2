"""Free memory goes back to the system. The C library keeps it otherwise, cut by small objects that live on into pieces
which the next model does not fit into: a long run would seem to grow."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Return whatever whole pages are free; some milliseconds. Nothing happens where the C library cannot do it."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim  # type: ignore[no-any-return]  # of glibc
    except (AttributeError, OSError):
        return None
