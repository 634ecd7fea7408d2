"""Runs systems and watches them from outside: processor time and memory of the whole tree of their processes.

Memory is the sum of the proportional set sizes (Linux's PSS): a page that several processes share counts once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import processes
from benchmarks.job import Order, Told
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS

LIMIT = 900.0  # seconds after which a child is given up
FIRST_TURN = 15.0  # seconds, so that no system is stopped while it starts

CPU_EVERY = 0.2  # seconds between readings of the processor time
MEMORY_EVERY = 1.0  # seconds between readings of the memory, which cost the kernel a walk through its page tables
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Watched:
    """What a command printed and used.

    turns: when it ran, from and to, in seconds since the epoch; between them it stood still. times, cpu: readings of
    the processor seconds used until then. all_cpu: likewise, of the whole machine.
    peak_bytes: largest sum of the proportional set sizes at one time; 0 where the memory was not read.
    """

    status: int
    stdout: str
    stderr: str
    turns: list[tuple[float, float]]
    times: list[float]
    cpu: list[float]
    all_cpu: list[float]
    peak_bytes: int

    @property
    def started(self) -> float:
        """When, in seconds since the epoch."""
        return self.turns[0][0]

    def seconds_between(self, start: float, end: float) -> float:
        """Seconds of two times (since the epoch) in which it ran."""
        return sum(to - since for since, to in self._turns_between(start, end))

    def cpu_between(self, start: float, end: float) -> float:
        """Processor seconds used between two times, interpolated between readings."""
        return self._used(self.cpu, start, end)

    def others_between(self, start: float, end: float) -> float:
        """Share of the machine's processor time that other processes took while it ran."""
        busy = sum(self._used(self.all_cpu, *turn) for turn in self._turns_between(start, end))
        free = self.seconds_between(start, end) * os.cpu_count()  # type: ignore[operator]
        return max(0.0, busy - self.cpu_between(start, end)) / free

    def _turns_between(self, start: float, end: float) -> list[tuple[float, float]]:
        parts = [(max(since, start), min(to, end)) for since, to in self.turns]
        return [part for part in parts if part[0] < part[1]]

    def _used(self, readings: list[float], start: float, end: float) -> float:
        used = np.interp([start, end], self.times, readings)
        return float(used[1] - used[0])


class Watch:
    """Starts a command and reads what it uses, turn by turn: between its turns all its processes stand still.

    memory: whether it is read. Beside other trees it would be too small: pages of libraries that they share count less.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], memory: bool) -> None:
        self._files = folder / "stdout.txt", folder / "stderr.txt"
        self._memory = memory
        self._turns: list[tuple[float, float]] = []
        self._times: list[float] = []
        self._cpu: list[float] = []
        self._all_cpu: list[float] = []
        self._peak = 0
        self._next_memory = 0.0
        self._began = time.time()
        with self._files[0].open("wb") as stdout, self._files[1].open("wb") as stderr:
            self._process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, env=dict(environment), start_new_session=True
            )

    def turn(self, seconds: float) -> bool:
        """Let it run for so long; whether it has ended, or is to be ended after LIMIT seconds."""
        if self._turns:
            self._began = time.time()
            self._signal(signal.SIGCONT)
        while (ended := self._process.poll() is not None) is False and time.time() < self._began + seconds:
            self._read()
            time.sleep(CPU_EVERY)
        if not ended:
            self._stop()
            self._read()
        self._turns.append((self._began, time.time()))
        return ended or sum(to - since for since, to in self._turns) >= LIMIT

    def end(self) -> Watched:
        """Kill what still runs, and tell what there was."""
        self._signal(signal.SIGKILL)
        status = self._process.wait()
        text = [path.read_text(encoding="utf-8", errors="replace") for path in self._files]
        return Watched(status, text[0], text[1], self._turns, self._times, self._cpu, self._all_cpu, self._peak)

    def _read(self) -> None:
        now, tree = time.time(), processes.tree(self._process.pid)
        self._times.append(now)
        self._cpu.append(max(sum(map(cpu_seconds, tree.values())), *self._cpu[-1:], 0.0))
        self._all_cpu.append(_machine_seconds())
        if self._memory and now >= self._next_memory:
            self._peak = max(self._peak, sum(map(processes.proportional, tree)))
            self._next_memory = now + MEMORY_EVERY

    def _stop(self) -> None:
        pid = self._process.pid
        while self._process.poll() is None and any(fields[0] not in "TZ" for fields in processes.tree(pid).values()):
            self._signal(signal.SIGSTOP)
            time.sleep(0.001)

    def _signal(self, number: int) -> None:
        for pid in processes.tree(self._process.pid):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, number)


def watch(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Watched:
    """Run a command until it ends; after LIMIT seconds it is killed with all that it started."""
    watched = Watch(command, folder, environment, memory=True)
    try:
        watched.turn(LIMIT)
    finally:
        found = watched.end()
    return found


def measure(
    system: str,
    workload: str,
    data: Path,
    rounds: int,
    changes: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One run of one system in a process of its own. Raises RuntimeError with what it wrote where it fails."""
    with tempfile.TemporaryDirectory(prefix="fedlt-speed-run-") as folder:
        order = Order(system, workload, data, Path(folder), rounds, changes, options or {})
        watched = watch(_command(order), order.folder, _environment())
        told = _told(watched)
        since, until = _steady(told, WORKLOADS[workload].warmup)
        figures = _figures(watched, told, since, until)

    if told.parts:
        part = slice(WORKLOADS[workload].warmup, None)
        figures |= {name: statistics.fmean(values[part]) for name, values in told.parts.items()}
    return figures


def measure_in_turns(
    rounds: Mapping[str, int], workload: str, data: Path, changes: Mapping[str, Any], seconds: float
) -> Iterator[tuple[str, dict[str, Any] | RuntimeError]]:
    """One run of each system, all begun at once, of which one may run for `seconds` while the others stand still.

    What slows the machine down for minutes then slows all of them alike. Only the time counts in which all are in
    their steady state. rounds: by system. Yields each system with its figures or with what went wrong, when all have
    ended. Memory and the parts of a round are not measured.
    """
    systems, watches, ended = list(rounds), {}, {}
    with tempfile.TemporaryDirectory(prefix="fedlt-speed-runs-") as folder:
        try:
            for system in systems:
                order = Order(system, workload, data, Path(folder, system), rounds[system], changes)
                order.folder.mkdir()
                watches[system] = Watch(_command(order), order.folder, _environment(), memory=False)
                watches[system].turn(FIRST_TURN)
            while left := [system for system in systems if system not in ended]:
                for system in left:
                    if watches[system].turn(seconds):
                        ended[system] = watches[system].end()
                systems.append(systems.pop(0))  # another order
        finally:
            for system in watches.keys() - ended.keys():
                watches[system].end()
    yield from compared(ended, WORKLOADS[workload].warmup).items()


def compared(ended: Mapping[str, Watched], warmup: int) -> dict[str, dict[str, Any] | RuntimeError]:
    """Figures of the time in which all systems were in their steady state, but for those that failed."""
    told: dict[str, Told] = {}
    found: dict[str, dict[str, Any] | RuntimeError] = {}
    for system, watched in ended.items():
        try:
            told[system] = _told(watched)
        except RuntimeError as error:
            found[system] = error

    windows = [_steady(each, warmup) for each in told.values()]
    since, until = max((start for start, _ in windows), default=0.0), min((end for _, end in windows), default=0.0)
    for system, each in told.items():
        try:
            found[system] = _figures(ended[system], each, since, until)
        except RuntimeError as error:
            found[system] = error

    return found


def _command(order: Order) -> list[str]:
    count = SYSTEMS[order.system].processes
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m"]
    return [sys.executable, "-m", *(launcher if count > 1 else []), "benchmarks.child", order.to_json()]


def _environment() -> dict[str, str]:
    """RAY_worker_register_timeout_seconds: Ray may stand still while it starts a worker."""
    return {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_register_timeout_seconds": "600"}


def _told(watched: Watched) -> Told:
    lines = [line for line in watched.stdout.splitlines() if line.startswith("{")]
    if watched.status or not lines:
        raise RuntimeError(
            f"the child ended with {watched.status}:\n{watched.stdout[-2000:]}\n{watched.stderr[-4000:]}"
        )
    return Told(**json.loads(lines[-1]))


def _steady(told: Told, warmup: int) -> tuple[float, float]:
    """From the end of the last round of the warm-up to that of the last round, in seconds since the epoch."""
    return told.finished[min(warmup, len(told.finished)) - 1], told.finished[-1]


def _figures(watched: Watched, told: Told, since: float, until: float) -> dict[str, Any]:
    """Figures of the rounds that lie between two times, in seconds in which the system ran.

    drift: median seconds of the last tenth of these rounds over that of the first tenth.
    """
    held = [i for i, end in enumerate(told.finished) if since <= end <= until]
    if len(held) < 2:
        raise RuntimeError(f"of {len(told.finished)} rounds none lies within the steady state; give more --rounds")
    ends = [told.finished[i] for i in held]
    seconds = [watched.seconds_between(*pair) for pair in itertools.pairwise(ends)]
    images, cpu = sum(told.images[i] for i in held[1:]), watched.cpu_between(ends[0], ends[-1])
    tenth = -(-len(seconds) // 10)

    return {
        "images_per_second": images / sum(seconds),
        "seconds_per_round": statistics.fmean(seconds),
        "images": images,
        "images_all": sum(told.images),
        "steps_all": sum(told.steps),
        "rounds": len(told.finished),
        "rounds_steady": len(seconds),
        "moved": told.moved,
        "drift": statistics.median(seconds[-tenth:]) / statistics.median(seconds[:tenth]),
        "startup_seconds": watched.seconds_between(watched.started, told.finished[0]),
        "cpu_seconds": cpu,
        "cpu_ms_per_image": 1000 * cpu / images,
        "others_cpu_share": watched.others_between(ends[0], ends[-1]),
        "peak_mb": watched.peak_bytes / 1e6 or None,
    }


def cpu_seconds(fields: list[str]) -> float:
    """User and system time of a process and of its children that have ended."""
    return sum(map(int, fields[11:15])) / TICKS


def _machine_seconds() -> float:
    """Processor time that all processes of the machine have used."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    idle = int(fields[3]) + int(fields[4])  # and waiting for a disk
    return (sum(map(int, fields[:8])) - idle) / TICKS
