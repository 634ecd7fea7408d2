"""Runs systems and watches them from outside: processor time and memory of the whole tree of their processes.

Memory is the sum of the proportional set sizes (Linux's PSS): a page that several processes share counts once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import Order
from benchmarks.systems import SYSTEMS

LIMIT = 900.0  # seconds after which a child is given up
FIRST_TURN = 15.0  # seconds, so that no system is stopped while it starts

CPU_EVERY = 0.2  # seconds between readings of the processor time
MEMORY_EVERY = 1.0  # seconds between readings of the memory, which cost the kernel a walk through its page tables
TICKS = os.sysconf("SC_CLK_TCK")
UNTIMED = ("images", "images_all", "steps_all", "rounds", "moved")  # of a child's figures


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
        now, tree = time.time(), _tree(self._process.pid)
        self._times.append(now)
        self._cpu.append(max(sum(map(_cpu_seconds, tree.values())), *self._cpu[-1:], 0.0))
        self._all_cpu.append(_machine_seconds())
        if self._memory and now >= self._next_memory:
            self._peak = max(self._peak, sum(map(_pss, tree)))
            self._next_memory = now + MEMORY_EVERY

    def _stop(self) -> None:
        while self._process.poll() is None and any(f[0] not in "TZ" for f in _tree(self._process.pid).values()):
            self._signal(signal.SIGSTOP)
            time.sleep(0.001)

    def _signal(self, number: int) -> None:
        for pid in _tree(self._process.pid):
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
        return _found(watch(_command(order), order.folder, _environment()))


def measure_in_turns(
    rounds: Mapping[str, int], workload: str, data: Path, changes: Mapping[str, Any], seconds: float
) -> Iterator[tuple[str, dict[str, Any] | RuntimeError]]:
    """One run of each system, all begun at once, of which one may run for `seconds` while the others stand still.

    What slows the machine down for minutes then slows all of them alike. rounds: by system. Yields each system as it
    ends, with its figures or with what went wrong. Memory is not measured.
    """
    systems, running = list(rounds), {}
    with tempfile.TemporaryDirectory(prefix="fedlt-speed-runs-") as folder:
        try:
            for system in systems:
                order = Order(system, workload, data, Path(folder, system), rounds[system], changes)
                order.folder.mkdir()
                running[system] = Watch(_command(order), order.folder, _environment(), memory=False)
                running[system].turn(FIRST_TURN)
            while running:
                for system in filter(running.__contains__, tuple(systems)):
                    if running[system].turn(seconds):
                        watched = running.pop(system).end()
                        try:
                            yield system, _found(watched)
                        except RuntimeError as error:
                            yield system, error
                systems.append(systems.pop(0))  # another order
        finally:
            for left in running.values():
                left.end()


def _command(order: Order) -> list[str]:
    processes = SYSTEMS[order.system].processes
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return [sys.executable, "-m", *(launcher if processes > 1 else []), "benchmarks.child", order.to_json()]


def _environment() -> dict[str, str]:
    """RAY_worker_register_timeout_seconds: Ray may stand still while it starts a worker."""
    return {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_register_timeout_seconds": "600"}


def _found(watched: Watched) -> dict[str, Any]:
    """The child's figures, in seconds in which it ran, and those from outside."""
    found = _answer(watched)
    (start, end), first = found.pop("window"), found.pop("first_round_at")
    seconds, cpu = watched.seconds_between(start, end), watched.cpu_between(start, end)
    if len(watched.turns) > 1:  # all else that it timed holds the time in which it stood still
        found = {key: found[key] for key in UNTIMED} | {"seconds_per_round": found["seconds_per_round"]}
    return {
        **found,
        "images_per_second": found["images"] / seconds,
        "seconds_per_round": found["seconds_per_round"] * seconds / (end - start),
        "startup_seconds": watched.seconds_between(watched.started, first),
        "cpu_seconds": cpu,
        "cpu_ms_per_image": 1000 * cpu / found["images"],
        "others_cpu_share": watched.others_between(start, end),
        "peak_mb": watched.peak_bytes / 1e6 or None,
    }


def _answer(watched: Watched) -> dict[str, Any]:
    lines = [line for line in watched.stdout.splitlines() if line.startswith("{")]
    if watched.status or not lines:
        raise RuntimeError(
            f"the child ended with {watched.status}:\n{watched.stdout[-2000:]}\n{watched.stderr[-4000:]}"
        )
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _stats() -> dict[int, list[str]]:
    """Fields of /proc/PID/stat after the command's name, of every process."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path("/proc", entry, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            found[int(entry)] = text.rpartition(")")[2].split()
    return found


def _tree(root: int) -> dict[int, list[str]]:
    """The process and all that descend from it, or that stayed in its session."""
    stats = _stats()
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(pid)
    wanted, tree = [root, *(pid for pid, fields in stats.items() if int(fields[3]) == root)], {}
    while wanted:
        pid = wanted.pop()
        if pid in stats and pid not in tree:
            tree[pid] = stats[pid]
            wanted += children.get(pid, [])
    return tree


def _cpu_seconds(fields: list[str]) -> float:
    """User and system time of a process and of its children that have ended."""
    return sum(map(int, fields[11:15])) / TICKS


def _machine_seconds() -> float:
    """Processor time that all processes of the machine have used."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    idle = int(fields[3]) + int(fields[4])  # and waiting for a disk
    return (sum(map(int, fields[:8])) - idle) / TICKS


def _pss(pid: int) -> int:
    try:
        lines = Path("/proc", str(pid), "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
