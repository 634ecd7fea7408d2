"""Freed memory is kept between the steps of a training, and goes back to the system when it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fedlt
from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.process.memory import _of_glibc, give_back

pytestmark = pytest.mark.slow

benchmarks = pytest.importorskip("benchmarks.processes")


@pytest.mark.skipif(_of_glibc("malloc_trim") is None, reason="another C library")
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


def test_what_dealing_took_is_returned_before_the_first_round(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("server.app.give_back", lambda: told.append("returned"))

    class Ear(fedlt.Callback):
        def on_start(self, run: fedlt.RunState) -> None:
            told.append("dealt")

        def on_round(self, run: fedlt.RunState) -> None:
            told.append("trained")

    fedlt.run(tiny, out=tmp_path, callbacks=[Ear()])
    assert told == ["dealt", "returned", "trained", "trained"]


STEPS = """
import resource
from fedlt.process.memory import keep_freed

keep_freed()
faults = []
for _ in range(20):  # the first ones find their places
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(40 * 2**20)  # freed at once; left to itself, the library keeps blocks up to 32 MiB at most
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


@pytest.mark.skipif(_of_glibc("mallopt") is None, reason="another C library")
def test_what_is_freed_is_kept_for_the_next_step() -> None:
    def faults(**variables: str) -> int:
        """Pages that the system had to find for the last of several equal steps."""
        done = subprocess.run(
            [sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, env={**os.environ, **variables}
        )
        return int(done.stdout)

    step = 40 * 2**20 // os.sysconf("SC_PAGESIZE")
    assert faults() < step // 10
    given_back = {"MALLOC_TRIM_THRESHOLD_": "131072"}  # the user's choice counts
    assert faults(**given_back) > step // 2


def test_a_worker_asks_for_that(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("clients.worker.keep_freed", lambda: asked.append("kept"))
    scenario = load_scenario(tiny)
    Worker(scenario, federate(scenario))
    assert asked == ["kept"]
