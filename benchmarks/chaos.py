"""Kills workers and servers at random moments, over many runs, and compares what comes out with undisturbed runs.

    python -m benchmarks.chaos --servers 80 --workers 24 --json benchmarks/results/chaos.json

Servers: SIGKILL to the process of an inline run, at a moment drawn uniformly from the length of an undisturbed run; the
same call goes on until the run is finished. Workers: SIGKILL to a Ray worker of the run, every few seconds, while it
starts, trains or evaluates. A result counts as changed where a hash, a final figure or a row of a table differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes

STRATEGIES = ("scaffold", "fedper", "flower:FedAdam")  # state of clients and server, private heads, state of a server
SCENARIO = (
    "federation.rounds=12", "evaluation.every=3", "local.epochs=1", "resources.checkpoint=1",
    "model.width=8", "model.hidden=32",
)  # fmt: skip
PAUSE = (1.0, 8.0)  # seconds between two kills of workers, drawn uniformly


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, compare, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=80, help="kills of servers")
    parser.add_argument("--workers", type=int, default=24, help="kills of workers")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    found: dict[str, Any] = {"server_kills": 0, "worker_kills": 0, "workers_replaced": 0, "runs": 0, "lost": 0}
    found |= {"changed": 0, "rounds_when_resumed": []}
    import fedlt.run  # noqa: F401  # before the forks: each kill would else cost the imports
    from clients import worker  # noqa: F401
    from server import app  # noqa: F401

    with tempfile.TemporaryDirectory(prefix="fedlt-chaos-") as folder:
        for number in range(10**6):
            kind = "worker" if found["worker_kills"] < options.workers and number % 2 else "server"
            if found["server_kills"] >= options.servers and found["worker_kills"] >= options.workers:
                break
            if kind == "server" and found["server_kills"] >= options.servers:
                kind = "worker"
            strategy = STRATEGIES[number % len(STRATEGIES)]
            seed, out = number, Path(folder) / str(number)
            length = _reference(strategy, seed, out / "whole")
            disturb = _kill_servers if kind == "server" else _kill_workers
            disturb(strategy, seed, out / "disturbed", length, rng, found)
            _compare(out, found)
            print(json.dumps({**found, "rounds_when_resumed": len(found["rounds_when_resumed"])}), flush=True)
    print(json.dumps(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _start(strategy: str, seed: int, out: Path, backend: str) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(strategy, seed, out, backend))
    process.start()
    return process


def _run(strategy: str, seed: int, out: Path, backend: str) -> None:
    import fedlt

    os.environ["OMP_NUM_THREADS"] = "1"
    fedlt.run("digits_lt", f"strategy={strategy}", f"seed={seed}", *SCENARIO, out=out, backend=backend, workers=2)


def _reference(strategy: str, seed: int, out: Path) -> float:
    """An undisturbed run. Its seconds."""
    started = time.monotonic()
    process = _start(strategy, seed, out, "inline")
    process.join()
    if process.exitcode:
        raise SystemExit("the undisturbed run failed")
    return time.monotonic() - started


def _kill_servers(
    strategy: str, seed: int, out: Path, length: float, rng: random.Random, found: dict[str, Any]
) -> None:
    while True:
        process = _start(strategy, seed, out, "inline")
        process.join(rng.uniform(0, length))
        if process.exitcode is None:
            process.kill()
            process.join()
            found["server_kills"] += 1
        else:
            found["lost"] += bool(process.exitcode)
            return


def _kill_workers(
    strategy: str, seed: int, out: Path, length: float, rng: random.Random, found: dict[str, Any]
) -> None:
    process = _start(strategy, seed, out, "ray")
    assert process.pid is not None
    while process.exitcode is None:
        process.join(rng.uniform(*PAUSE))
        workers = [pid for pid in processes.tree(process.pid) if processes.title(pid).startswith("ray::_Host")]
        if workers:
            try:
                os.kill(rng.choice(workers), signal.SIGKILL)
            except ProcessLookupError:
                continue
            found["worker_kills"] += 1
    found["lost"] += bool(process.exitcode)


def _compare(out: Path, found: dict[str, Any]) -> None:
    import pandas as pd

    from fedlt.results import load

    found["runs"] += 1
    (whole,), (run,) = load(out / "whole"), load(out / "disturbed")
    found["rounds_when_resumed"] += run.summary["resumed"]
    found["workers_replaced"] += run.summary.get("workers_replaced", 0)
    keys = ("status", "model_hash", "final", "last_five", "rounds", "evaluations", "skipped")
    same = all(run.summary.get(key) == whole.summary[key] for key in keys)
    for name in ("metrics", "clients", "classes", "confusion"):
        same &= bool(pd.DataFrame.equals(getattr(run, name), getattr(whole, name)))
    found["changed"] += not same


if __name__ == "__main__":
    main()
