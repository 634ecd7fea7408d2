"""From the start of the process to the first finished round of `digits_lt`, and to the help text.

    python -m benchmarks.startup --repeats 5 --csv startup.csv

A first pass over all commands is not counted: it fills the data cache and the system's file buffers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report

COMMANDS = {
    "help": ("--help",),
    "inline": ("run", "digits_lt", "federation.rounds=1", "--backend", "inline"),
    "ray": ("run", "digits_lt", "federation.rounds=1", "--backend", "ray"),
}
HEAD = ("fedlt", "s median", "s fastest", "s slowest", "process s")
NOTE = (
    "help: process start to its end. inline, ray: process start to the end of the first round. process: to the end\n"
    "of the whole command, of which one round, the last evaluation and the run folder are a part."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the files."""
    options = _options(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="fedlt-startup-") as cache:
        environment = {**os.environ, "FEDLT_CACHE": cache}
        for repeat in range(-1, options.repeats):
            for name, command in COMMANDS.items():
                found = _measure(command, environment)
                if repeat >= 0:
                    rows.append({"command": name, "repeat": repeat, **found})
    print(f"{_table(rows)}\n\n{NOTE}")
    report.write(rows, options.json, options.csv)


def _measure(command: Sequence[str], environment: dict[str, str]) -> dict[str, float]:
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="fedlt-startup-run-") as folder:
        full = [str(Path(sys.executable).with_name("fedlt")), *command]
        if command[0] == "run":
            full += ["--out", folder]
        started = time.time()
        subprocess.run(full, env=environment, check=True, stdout=subprocess.DEVNULL)
        ended = time.time()
        first = ended
        for path in Path(folder).glob("*/rounds.parquet"):
            first = float(pd.read_parquet(path)["ended"].iloc[0])
    return {"seconds": first - started, "process_seconds": ended - started}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for name in COMMANDS:
        seconds = [row["seconds"] for row in rows if row["command"] == name]
        whole = statistics.median(row["process_seconds"] for row in rows if row["command"] == name)
        figures = (statistics.median(seconds), min(seconds), max(seconds), whole)
        lines.append((name, *(f"{figure:.2f}" for figure in figures)))
    return report.table(HEAD, lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every run and the machine to this file")
    parser.add_argument("--csv", type=Path, help="likewise as CSV, with comment lines on top")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
