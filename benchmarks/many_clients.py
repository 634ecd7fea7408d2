"""Ten thousand clients that each keep a head of their own: memory of all processes together, and going on exactly.

    python -m benchmarks.many_clients --json benchmarks/results/many_clients.json

100 of 10,000 clients a round, 50 rounds, FedPer on an MLP. The run is done twice: undisturbed, and with a SIGKILL to
the server after some rounds. Memory is the sum of all processes' proportional sets (a shared page counts once).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import processes

CLIENTS, COHORT, ROUNDS = 10_000, 100, 50
KILLED_AFTER = (7, 23, 41)
EVERY = 1.0  # seconds between two readings of the memory


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both, compare, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128, help="of the MLP")
    parser.add_argument("--backend", default="inline")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory(prefix="fedlt-many-") as folder:
        data = Path(folder) / "rows.npz"
        _write_data(data)
        call = [
            f"data.name={data}", "~data.longtail", f"federation.clients={CLIENTS}", f"federation.rounds={ROUNDS}",
            f"federation.participation={COHORT / CLIENTS}", "federation.partition={name: iid}", "federation.block=10",
            "local.epochs=1", "local.batch_size=8", f"model={{name: mlp, width: {options.width}, depth: 1}}",
            "strategy=fedper", "evaluation.every=25", "evaluation.clients=500", "resources.checkpoint=1",
        ]  # fmt: skip
        whole = _run(call, options.backend, Path(folder) / "whole", ())
        killed = _run(call, options.backend, Path(folder) / "killed", KILLED_AFTER)

    same = all(whole["summary"][key] == killed["summary"][key] for key in ("model_hash", "final", "last_five"))
    figures: dict[str, Any] = {
        "clients": CLIENTS, "cohort": COHORT, "rounds": ROUNDS, "backend": options.backend,
        "peak_mb": whole["peak"] / 1e6, "peak_mb_killed": killed["peak"] / 1e6, "seconds": whole["seconds"],
        "resumed": killed["summary"]["resumed"], "same": same, "kept_mb": whole["kept"] / 1e6,
        "clients_that_keep": whole["keepers"], "checkpoint_states_mb": whole["states"] / 1e6,
    }  # fmt: skip

    print(json.dumps(figures, indent=1))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _write_data(path: Path) -> None:
    """Four rows of 32 features for each client, ten classes around ten centres."""
    rng = np.random.default_rng(0)
    labels = np.arange(4 * CLIENTS) % 10
    rows = rng.normal(size=(len(labels), 32)) + 2 * np.eye(10, 32)[labels]
    np.savez(path, x_train=rows.astype(np.float32), y_train=labels, x_test=rows[:2000].astype(np.float32),
             y_test=labels[:2000])  # fmt: skip


def _run(call: list[str], backend: str, out: Path, killed_after: Sequence[int]) -> dict[str, Any]:
    """The run, started again after each kill. Its summary and the largest memory of all its processes together."""
    start = [sys.executable, "-c", "from fedlt.commands.cli import main; main()"]
    command = [*start, "run", "digits_lt", *call, "--backend", backend, "--workers", "1"]
    peak, states, started = 0, 0, time.monotonic()
    waiting = list(killed_after)

    while True:
        process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None:
            peak = max(peak, sum(map(processes.proportional, processes.tree(process.pid))))
            kept = list(out.glob("*/checkpoints/states/*"))
            states = max(states, sum(path.stat().st_size for path in kept if path.exists()))
            if waiting and list(out.glob(f"*/checkpoints/{waiting[0]:06d}")):
                waiting.pop(0)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.02 if waiting else EVERY)
        else:
            if process.returncode:
                raise SystemExit(f"the run failed with {process.returncode}")
            break

    (summary,) = out.glob("*/run.json")
    clients = summary.parent / "clients.safetensors"
    header = json.loads(clients.read_bytes()[8 : 8 + int.from_bytes(clients.read_bytes()[:8], "little")])
    return {
        "peak": peak, "states": states, "seconds": time.monotonic() - started, "kept": clients.stat().st_size,
        "keepers": len({name.partition("/")[0] for name in header}),
        "summary": json.loads(summary.read_text(encoding="utf-8")),
    }  # fmt: skip


if __name__ == "__main__":
    main()
