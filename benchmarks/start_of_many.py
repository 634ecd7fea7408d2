"""A hundred thousand clients: seconds until the first of them trains, and memory beside that of their data.

    python -m benchmarks.start_of_many --json benchmarks/results/start_of_many.json

A million rows of 32 numbers, dealt to 100,000 clients and, for comparison, to 100. Each run is a process of its own; a
first pass fills the cache of decoded data. Memory is the process's proportional set after the first round, less that of
a process that has the same modules and no data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

ROWS, COLUMNS, CLASSES = 1_000_000, 32, 10
CHILD = """
import os, sys, time
begun = time.perf_counter()

import fedlt
from benchmarks.start_of_many import scenario
from benchmarks.processes import proportional


class Clock(fedlt.Callback):
    def on_start(self, run):
        self.dealt = time.perf_counter() - begun

    def on_round(self, run):
        if run.round == 1:
            print(self.dealt, time.perf_counter() - begun, proportional(os.getpid()) / 1e6, flush=True)


fedlt.run(scenario(sys.argv[1], int(sys.argv[2])), out=sys.argv[3], backend="inline", callbacks=[Clock()])
"""


def scenario(data: str, clients: int) -> dict[str, Any]:
    """100 of so many clients in each of two rounds, two steps each; with "digits", a federation that holds next to
    nothing.
    """
    return {
        "data": {"name": data, "longtail": "none"},
        "federation": {"clients": clients, "participation": 100 / max(clients, 100), "rounds": 2, "partition": "iid"},
        "local": {"steps": 2, "batch_size": 8, "lr": 0.05},
        "model": {"name": "mlp", "width": 32, "depth": 1},
        "evaluation": {"every": 2, "clients": 100},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)

    rows = []
    with tempfile.TemporaryDirectory(prefix="fedlt-many-") as folder:
        data = _written(Path(folder))
        environment = {**os.environ, "FEDLT_CACHE": f"{folder}/cache"}
        for repeat in range(-1, options.repeats):
            for name, clients in (("digits", 20), (str(data), 100), (str(data), 100_000)):
                words = [sys.executable, "-c", CHILD, name, str(clients), f"{folder}/runs{repeat}"]
                done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
                dealt, first, memory = map(float, done.stdout.split()[:3])
                if repeat >= 0:
                    rows.append({"clients": clients, "dealt_s": dealt, "first_round_s": first, "memory_mb": memory})

    median = {
        clients: {key: float(np.median([row[key] for row in rows if row["clients"] == clients])) for key in rows[0]}
        for clients in (20, 100, 100_000)
    }
    held = ROWS * (COLUMNS * 4 + 8) / 1e6
    for clients, found in median.items():
        share = (found["memory_mb"] - median[20]["memory_mb"]) / held
        seconds = f"dealt after {found['dealt_s']:.1f} s, first round after {found['first_round_s']:.1f} s"
        beyond = f"{share:.2f} of the data's {held:.0f} MB beyond a process without them"
        print(f"{clients:7,} clients: {seconds}, {found['memory_mb']:.0f} MB, {beyond}")
    if options.json:
        options.json.write_text(json.dumps({**report.provenance(), "data_mb": held, "rows": rows}, indent=1) + "\n")


def _written(folder: Path) -> Path:
    """The rows as a file: classes a unit apart, in noise."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, ROWS)
    x = (rng.standard_normal((ROWS, COLUMNS)) + 2 * np.eye(CLASSES, COLUMNS)[y]).astype(np.float32)
    path = folder / "many.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x[:2000], y_test=y[:2000])
    return path


if __name__ == "__main__":
    main()
