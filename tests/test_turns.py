"""The benchmarks' watch: between its turns a command stands still, and that time counts for nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmarks.measure import Watch, Watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

COUNTERS = """
import subprocess, sys, time
path, others = sys.argv[1], int(sys.argv[2])
child = subprocess.Popen([sys.executable, __file__, path + "x", str(others - 1)]) if others else None
for count in range({steps}):
    with open(path, "a") as file:
        file.write(".")
    time.sleep(0.002)
sys.exit(child.wait() if child else 0)
"""


def started(folder: Path, steps: int) -> Watch:
    script = folder / "count.py"
    script.write_text(COUNTERS.format(steps=steps))
    return Watch([sys.executable, str(script), str(folder / "n"), "2"], folder, os.environ, memory=False)


def counts(folder: Path) -> list[int]:
    return [path.stat().st_size for path in sorted(folder.glob("n*"))]


def test_a_command_and_its_children_stand_still_between_turns(tmp_path: Path) -> None:
    watch = started(tmp_path, 10**6)
    try:
        while len(counts(tmp_path)) < 3:  # of the command, of its child and of the child's child
            assert not watch.turn(0.2)
        before = counts(tmp_path)
        time.sleep(0.1)
        assert counts(tmp_path) == before
        assert not watch.turn(0.5)
        assert all(now > then for now, then in zip(counts(tmp_path), before, strict=True))
    finally:
        watched = watch.end()
    assert watched.status == -signal.SIGKILL
    before = counts(tmp_path)
    time.sleep(0.1)
    assert counts(tmp_path) == before


def test_a_command_ends_in_its_own_time(tmp_path: Path) -> None:
    watch = started(tmp_path, 50)
    while not watch.turn(0.05):
        time.sleep(0.02)
    watched = watch.end()
    assert watched.status == 0
    assert counts(tmp_path) == [50, 50, 50]
    paused = [later[0] - earlier[1] for earlier, later in zip(watched.turns, watched.turns[1:], strict=False)]
    whole = watched.turns[-1][1] - watched.started
    assert watched.seconds_between(watched.started, watched.turns[-1][1]) == pytest.approx(whole - sum(paused))


def test_only_turns_count() -> None:
    watched = Watched(
        status=0,
        stdout="",
        stderr="",
        turns=[(10.0, 12.0), (20.0, 23.0)],
        times=[10.0, 12.0, 20.0, 23.0],
        cpu=[0.0, 3.0, 3.0, 9.0],
        all_cpu=[100.0, 104.0, 120.0, 126.0],
        peak_bytes=0,
    )
    assert watched.seconds_between(11.0, 22.0) == 1.0 + 2.0
    assert watched.cpu_between(11.0, 22.0) == pytest.approx(1.5 + 4.0)
    # of the machine 2 + 4 processor seconds, and not the 16 that others took meanwhile
    assert watched.others_between(11.0, 22.0) == pytest.approx((6.0 - 5.5) / 3.0 / (os.cpu_count() or 1))
