"""Runs a system and watches it from outside: processor time and memory of the whole tree of its processes.

Memory is the sum of the proportional set sizes (Linux's PSS): a page that several processes share counts once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import Order
from benchmarks.systems import SYSTEMS

LIMIT = 900.0  # seconds after which a child is given up

CPU_EVERY = 0.2  # seconds between readings of the processor time
MEMORY_EVERY = 1.0  # seconds between readings of the memory, which cost the kernel a walk through its page tables
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Watched:
    """What a command printed and used.

    started: when, in seconds since the epoch. times, cpu: readings of the processor seconds used until then. all_cpu:
    likewise, of the whole machine.
    peak_bytes: largest sum of the proportional set sizes at one time.
    """

    status: int
    stdout: str
    stderr: str
    started: float
    times: list[float]
    cpu: list[float]
    all_cpu: list[float]
    peak_bytes: int

    def cpu_between(self, start: float, end: float) -> float:
        """Processor seconds used between two times (seconds since the epoch), interpolated between readings."""
        return self._between(self.cpu, start, end)

    def others_between(self, start: float, end: float) -> float:
        """Share of the machine's processor time that other processes took."""
        busy = self._between(self.all_cpu, start, end) - self.cpu_between(start, end)
        return max(0.0, busy) / (end - start) / os.cpu_count()  # type: ignore[operator]

    def _between(self, readings: list[float], start: float, end: float) -> float:
        used = np.interp([start, end], self.times, readings)
        return float(used[1] - used[0])


def measure(
    system: str,
    workload: str,
    data: Path,
    rounds: int,
    changes: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One run of one system in a process of its own. Raises RuntimeError with what it wrote where it fails."""
    processes = SYSTEMS[system].processes
    with tempfile.TemporaryDirectory(prefix="fedlt-speed-run-") as folder:
        order = Order(system, workload, data, Path(folder), rounds, changes, options or {})
        command = [sys.executable, "-m"]
        if processes > 1:
            command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        command += ["benchmarks.child", order.to_json()]
        watched = watch(command, Path(folder), {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}, LIMIT)
    found = _answer(watched)
    start, end = found.pop("window")
    startup = found.pop("first_round_at") - watched.started
    cpu = watched.cpu_between(start, end)
    return {
        **found,
        "startup_seconds": startup,
        "cpu_seconds": cpu,
        "cpu_ms_per_image": 1000 * cpu / found["images"],
        "others_cpu_share": watched.others_between(start, end),
        "peak_mb": watched.peak_bytes / 1e6,
    }


def _answer(watched: Watched) -> dict[str, Any]:
    lines = [line for line in watched.stdout.splitlines() if line.startswith("{")]
    if watched.status or not lines:
        raise RuntimeError(
            f"the child ended with {watched.status}:\n{watched.stdout[-2000:]}\n{watched.stderr[-4000:]}"
        )
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def watch(command: Sequence[str], folder: Path, environment: Mapping[str, str], limit: float) -> Watched:
    """Run a command until it ends; after `limit` seconds it is killed with all that it started."""
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    times: list[float] = []
    cpu: list[float] = []
    all_cpu, peak = [], 0
    with out.open("wb") as stdout, err.open("wb") as stderr:
        started = time.time()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=dict(environment), start_new_session=True)
        next_memory = started
        while process.poll() is None:
            now = time.time()
            tree = _tree(process.pid)
            times.append(now)
            cpu.append(max(sum(_cpu_seconds(stat) for stat in tree.values()), *cpu[-1:], 0.0))
            all_cpu.append(_machine_seconds())
            if now >= next_memory:
                peak = max(peak, sum(map(_pss, tree)))
                next_memory = now + MEMORY_EVERY
            if now - started > limit:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(CPU_EVERY)
    for pid in _session(process.pid):  # what a killed child left behind
        os.kill(pid, signal.SIGKILL)
    text = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    return Watched(process.returncode, text[0], text[1], started, times, cpu, all_cpu, peak)


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


def _session(root: int) -> list[int]:
    return [pid for pid, fields in _stats().items() if int(fields[3]) == root and pid != root]


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
