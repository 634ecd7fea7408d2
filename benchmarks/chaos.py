"""Kills workers and servers at random moments, over many runs, and compares what comes out with undisturbed runs.

    python -m benchmarks.chaos --servers 40 --processes 60 --ray 20 --json benchmarks/results/chaos.json

Servers: SIGKILL to the process of a run, in this process alone or over forked workers, at a moment drawn uniformly from
the length of an undisturbed run; the same call goes on until the run is finished. Workers: SIGKILL to a worker of the
run, forked or Ray's, every so often, whatever it does: it starts, trains, evaluates, or waits. A result counts as
changed where a hash, a final figure or a row of a table differs.
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
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from benchmarks import processes

STRATEGIES = ("scaffold", "fedper", "flower:FedAdam")  # state of clients and server, private heads, state of a server
SCENARIO = (
    "federation.rounds=12", "evaluation.every=3", "local.epochs=1", "resources.checkpoint=1",
    "model.width=8", "model.hidden=32",
)  # fmt: skip
PHASES = "FEDLT_CHAOS_PHASES"  # names the folder where workers write down what they do
KINDS = ("servers", "processes", "ray")
PAUSE = {"processes": (0.1, 0.6), "ray": (1.0, 5.0)}
"""Between two kills of workers, drawn uniformly, in lengths of the undisturbed run: a slow machine goes on, too."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, compare, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=40, help="kills of servers")
    parser.add_argument("--processes", type=int, default=60, help="kills of forked workers")
    parser.add_argument("--ray", type=int, default=20, help="kills of Ray workers")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    wanted = {kind: getattr(options, kind) for kind in KINDS}
    found: dict[str, Any] = {"seed": options.seed, "kills": dict.fromkeys(KINDS, 0), "runs": dict.fromkeys(KINDS, 0)}
    found |= {"phases": {}, "workers_replaced": 0, "lost": 0, "changed": 0, "rounds_when_resumed": []}
    import fedlt.sweeps.run  # noqa: F401  # before the forks: each kill would else cost the imports
    from clients import worker  # noqa: F401
    from server import app  # noqa: F401

    _watch_phases()
    with tempfile.TemporaryDirectory(prefix="fedlt-chaos-") as folder:
        number = 0
        while open_kinds := [kind for kind in KINDS if found["kills"][kind] < wanted[kind]]:
            kind = open_kinds[number % len(open_kinds)]
            strategy, out = STRATEGIES[number // len(open_kinds) % len(STRATEGIES)], Path(folder) / str(number)
            (out / "phases").mkdir(parents=True)
            os.environ[PHASES] = str(out / "phases")
            length = _reference(strategy, number, out / "whole")
            if kind == "servers":
                backend = rng.choice(("inline", "processes"))
                _kill_servers(strategy, number, out / "disturbed", backend, length, rng, found)
            else:
                _kill_workers(strategy, number, out / "disturbed", kind, length, rng, found)
            _compare(out, kind, found)
            print(json.dumps(found), flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            number += 1


def _watch_phases() -> None:
    """Let forked workers write down what they do, each in a file of its own. (Ray's tell the method by their title.)"""
    from clients.worker import Worker

    def noting(name: str, phase: str) -> None:
        kept = getattr(Worker, name)

        def noted(*arguments: Any) -> Any:
            path = Path(os.environ[PHASES]) / str(os.getpid())
            path.write_text(phase)
            try:
                return kept(*arguments)
            finally:
                path.write_text("waits")

        setattr(Worker, name, noted)

    for name, phase in (("__init__", "starts"), ("_train", "trains"), ("_evaluate", "evaluates")):
        noting(name, phase)


def _phase(pid: int) -> str:
    path = Path(os.environ[PHASES]) / str(pid)
    title = processes.title(pid)
    if title.startswith("ray::"):
        return {"ray::_Host.answer": "trains or evaluates", "ray::_Host": "waits"}.get(title.split("(")[0], "starts")
    return (path.read_text() or "waits") if path.exists() else "starts"  # empty while it is being written anew


def _start(strategy: str, seed: int, out: Path, backend: str) -> ForkProcess:
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
    strategy: str, seed: int, out: Path, backend: str, length: float, rng: random.Random, found: dict[str, Any]
) -> None:
    while True:
        process = _start(strategy, seed, out, backend)
        process.join(rng.uniform(0, length))
        if process.exitcode is None:
            process.kill()
            process.join()
            found["kills"]["servers"] += 1
        else:
            found["lost"] += bool(process.exitcode)
            return


def _kill_workers(
    strategy: str, seed: int, out: Path, backend: str, length: float, rng: random.Random, found: dict[str, Any]
) -> None:
    process = _start(strategy, seed, out, backend)
    assert process.pid is not None

    while process.exitcode is None:
        process.join(length * rng.uniform(*PAUSE[backend]))
        workers = [pid for pid in processes.tree(process.pid) if _is_worker(pid, process.pid, backend)]
        if not workers:
            continue

        chosen = rng.choice(workers)
        phase = f"{backend}: {_phase(chosen)}"
        try:
            os.kill(chosen, signal.SIGKILL)
        except ProcessLookupError:
            continue

        found["kills"][backend] += 1
        found["phases"][phase] = found["phases"].get(phase, 0) + 1
    found["lost"] += bool(process.exitcode)


def _is_worker(pid: int, server: int, backend: str) -> bool:
    """Forked workers are all the descendants that the server has; Ray has further ones."""
    if not processes.alive(pid):
        return False
    return pid != server if backend == "processes" else processes.title(pid).startswith("ray::_Host")


def _compare(out: Path, kind: str, found: dict[str, Any]) -> None:
    import pandas as pd

    from fedlt.results.runs import load_runs

    found["runs"][kind] += 1
    (whole,), (run,) = load_runs(out / "whole"), load_runs(out / "disturbed")
    found["rounds_when_resumed"] += run.summary["resumed"]
    found["workers_replaced"] += run.summary.get("workers_replaced", 0)
    keys = ("status", "model_hash", "final", "last_five", "rounds", "evaluations", "skipped")
    same = all(run.summary.get(key) == whole.summary[key] for key in keys)
    for name in ("metrics", "clients", "classes", "confusion"):
        same &= bool(pd.DataFrame.equals(getattr(run, name), getattr(whole, name)))
    found["changed"] += not same


if __name__ == "__main__":
    main()
