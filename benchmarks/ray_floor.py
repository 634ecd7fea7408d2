"""What Ray costs before it does anything: two idle actors, beside the workers of FedLT.

    python -m benchmarks.ray_floor --csv ray-floor.csv

`ray`: `ray.init` on loopback without its dashboard, and two actors that import nothing. `ray-torch`: these and the
driver import PyTorch. `start-torch`: the same, but Ray is started as FedLT does it (`server.grids.ray_start`). `fedlt`:
FedLT before its first round, with model and data of `digits_lt` in the driver and in two workers. Each is a process of
its own, in another order in each repeat.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes, report

WORKERS = 2
TICKS = os.sysconf("SC_CLK_TCK")
PARTS = ("driver", "workers", "gcs", "raylet", "services")
"""workers: with the process that forks them, where there is one. services: whatever else Ray has started."""

HEAD = ("session", "s", "cpu s", "MB", *(f"{part} MB" for part in PARTS))
NOTE = (
    "Medians. s: process start to the answer of both workers; cpu: of all processes, until then.\n"
    "MB: proportional set sizes a second later, in which a page that several processes share counts once."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the files."""
    options = _options(arguments)
    if options.session:
        _run(options.session)
        return

    rows, names = [], list(SESSIONS)
    for repeat in range(-1, options.repeats):  # the first pass fills the system's file buffers
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            found = _measure(name)
            if repeat >= 0:
                rows.append({"session": name, "repeat": repeat, **found})
    rows.sort(key=lambda row: (names.index(row["session"]), row["repeat"]))
    print(f"{_table(rows)}\n\n{NOTE}")
    report.write(rows, options.json, options.csv)


def _measure(name: str) -> dict[str, Any]:
    started = time.time()
    command = [sys.executable, "-m", "benchmarks.ray_floor", "--session", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": told.pop("answered") - started, **told}


def _run(name: str) -> None:
    """In a process of its own: start the session, and print when both workers have answered, and what it holds."""
    SESSIONS[name]()
    answered = time.time()
    cpu = sum(sum(map(int, fields[11:15])) for fields in processes.tree(os.getpid()).values()) / TICKS
    time.sleep(1.0)
    held = dict.fromkeys(PARTS, 0.0)
    for pid in processes.tree(os.getpid()):
        held[_part(pid)] += processes.proportional(pid) / 1e6
    figures = {"answered": answered, "cpu_seconds": cpu, "mb": sum(held.values())}
    print(json.dumps(figures | {f"{part}_mb": size for part, size in held.items()}))


def _part(pid: int) -> str:
    """Which part of a session a process is."""
    title = processes.title(pid)
    program = Path(title.split(" ")[0]).name
    if pid == os.getpid():
        return "driver"
    forks = "ray_forks.py" in title or title == processes.title(os.getpid())  # started, or a fork of the driver
    if title.startswith(("ray::Idle", "ray::_Host")) or forks:
        return "workers"
    return {"gcs_server": "gcs", "raylet": "raylet"}.get(program, "services")


def _init() -> None:
    import ray

    os.environ["OMP_NUM_THREADS"] = "1"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=WORKERS, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)


def _start() -> None:
    from server.grids.ray_start import start_ray

    start_ray(WORKERS)


def _idle(start: Callable[[], None], torch: bool) -> None:
    """Actors that have imported PyTorch, or nothing."""
    import ray

    start()

    class Idle:
        def __init__(self) -> None:
            if torch:
                import torch as _  # noqa: F401

        def answer(self) -> int:
            return os.getpid()

    actor: Any = ray.remote(num_cpus=1)(Idle)
    actors = [actor.remote() for _ in range(WORKERS)]
    if torch:
        import torch as _  # noqa: F401  # meanwhile
    ray.get([one.answer.remote() for one in actors])
    KEPT.extend(actors)  # Ray ends an actor that nobody knows


def _fedlt() -> None:
    from fedlt.config.scenario import load_scenario
    from fedlt.sweeps.grids import Grids

    scenario = load_scenario("digits_lt", [f"resources.workers={WORKERS}", "resources.backend=ray"])
    grids = Grids()
    grids.start_ray(scenario)
    from fedlt.data.federation import federate
    from fedlt.training.assembly import assemble, pick_device

    federation = federate(scenario)
    parts = assemble(scenario, federation, pick_device("cpu"))
    grid: Any = grids.get("ray", scenario, federation)
    import ray

    ray.get(list(grid._pool._starting))
    KEPT.extend((grids, parts))


KEPT: list[Any] = []
"""What must live until the memory has been read."""

SESSIONS: dict[str, Callable[[], None]] = {
    "ray": lambda: _idle(_init, torch=False),
    "ray-torch": lambda: _idle(_init, torch=True),
    "start-torch": lambda: _idle(_start, torch=True),
    "fedlt": _fedlt,
}


def _table(rows: list[dict[str, Any]]) -> str:
    def median(name: str, key: str) -> float:
        return statistics.median(row[key] for row in rows if row["session"] == name)

    lines = []
    for name in SESSIONS:
        sizes = [f"{median(name, key):.0f}" for key in ("mb", *(f"{part}_mb" for part in PARTS))]
        lines.append((name, f"{median(name, 'seconds'):.2f}", f"{median(name, 'cpu_seconds'):.2f}", *sizes))
    return report.table(HEAD, lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_floor", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--session", choices=SESSIONS, help="start this one here, and print what it takes")
    parser.add_argument("--json", type=Path, help="write every run and the machine to this file")
    parser.add_argument("--csv", type=Path, help="likewise as CSV, with comment lines on top")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
