"""The benchmarks' watch: between its turns a command stands still, and that time counts for nothing."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmarks.measure import Watch, Watched, compared

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

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


def ran(finished: list[float], turns: list[tuple[float, float]], status: int = 0) -> Watched:
    """A system of 100 images a round, whose processes keep one core busy in their turns."""
    rounds = len(finished)
    told = {"finished": finished, "images": [100] * rounds, "steps": [1] * rounds, "moved": 1.0, "parts": {}}
    times = [time for turn in turns for time in turn]
    used = [0.0]
    for i, (earlier, later) in enumerate(itertools.pairwise(times)):
        used.append(used[-1] + (later - earlier) * (i % 2 == 0))
    return Watched(status, json.dumps(told), "", turns, times, used, times, 0)


def test_systems_in_turns_are_compared_where_none_is_alone() -> None:
    # a: two seconds a round; it ends at 24, and b runs on alone, three times as fast as before
    a = ran([2.0, 12.0, 14.0, 22.0, 24.0], [(0.0, 4.0), (10.0, 14.0), (20.0, 24.0)])
    b = ran([8.0, 16.0, 18.0, 26.0, 27.0, 28.0], [(4.0, 10.0), (14.0, 20.0), (24.0, 28.0)])
    found = compared({"a": a, "b": b, "c": ran([1.0], [(0.0, 2.0)], status=1)}, warmup=1)
    assert isinstance(found["c"], RuntimeError)
    figures = {name: found[name] for name in ("a", "b")}
    assert [figures[name]["rounds_steady"] for name in "ab"] == [3, 2]  # a: 12 to 24; b: 8 to 18
    assert [figures[name]["images_per_second"] for name in "ab"] == pytest.approx([300 / 6, 200 / 6])
    assert [figures[name]["cpu_ms_per_image"] for name in "ab"] == pytest.approx([20.0, 30.0])


def test_too_few_rounds_are_told() -> None:
    turns = [(0.0, 100.0)]
    found = compared({"a": ran([1.0, 2.0, 3.0], turns), "b": ran([1.5, 50.0, 99.0], turns)}, warmup=1)
    assert "give more --rounds" in str(found["b"])
