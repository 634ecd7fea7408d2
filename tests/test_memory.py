"""Free memory goes back to the system."""

from __future__ import annotations

import os

import pytest

from fedlt.process.memory import _trim, give_back

benchmarks = pytest.importorskip("benchmarks.processes")


@pytest.mark.skipif(_trim() is None, reason="another C library")
def test_free_pages_between_objects_that_live_on_are_returned() -> None:
    size = 2**16  # bytes; the C library takes it from the heap, not from the system
    held = [bytearray(size) for _ in range(2000)]
    for block in held:
        block[::4096] = b"x" * (size // 4096)
    full = benchmarks.resident(os.getpid())
    kept = held[::50]  # what lives on
    del held, block
    give_back()
    assert full - benchmarks.resident(os.getpid()) > 0.8 * 2000 * size
    assert len(kept) == 40
