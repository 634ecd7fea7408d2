"""FedLT and a bare loop on one GPU, within a time budget.

    python -m benchmarks.gpu --minutes 9              # benchmarks/results/gpu.csv, and its table in docs/performance.md
    python -m benchmarks.gpu --dry-run                # every step on the CPU, in minute sizes; its figures mean nothing

Cases are measured in the order of `benchmarks.gpu.cases`, the most telling first, as long as there is time; the rest is
listed as not measured. A case that fails is a row with the reason. The table is written anew after every case, so that
a kill leaves what was measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import report, tables
from benchmarks.gpu.cases import NAMES, SYSTEMS, Case, plan
from benchmarks.gpu.hosted import Host
from benchmarks.gpu.page import section

RESULTS = tables.RESULTS / "gpu.csv"
STEADY = 4.0  # seconds of the bare loop's steady state; FedLT runs as many rounds
LIMIT = 90.0  # seconds after which a case is given up
EXPECTED = {"bare": 12.0, "fedlt-inline": 20.0, "fedlt-processes": 5.0, "fedlt-ray": 30.0}
"""Seconds of a case, until some of its system have been measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the table, say what came out. 2 where there is no GPU."""
    options = _options(arguments)
    if not options.dry_run and not (card := _card()):
        print("There is no GPU that PyTorch can use; --dry-run tries every step of this on the CPU.", file=sys.stderr)
        return 2
    about = {"note": "a dry run on the CPU: no figure means anything"} if options.dry_run else {"gpu": card}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that no process is left behind

    with tempfile.TemporaryDirectory(prefix="fedlt-gpu-") as folder:
        host = Host(Path(folder), options.dry_run)
        try:
            rows = _measured(host, _chosen(options), 60 * options.minutes, options.csv, about)
        finally:
            host.close()

    if options.dry_run:
        print(section(options.csv))
    else:
        tables.main()
    for row in rows:
        if row["note"]:
            print(f"{Case(**{name: row[name] for name in asdict(Case('tiny'))})}: {row['note']}")
    return 0


def _measured(
    host: Host, cases: Iterable[Case], seconds: float, path: Path, about: dict[str, str]
) -> list[dict[str, Any]]:
    """One row a case, on disk after every one of them."""
    end = time.monotonic() + seconds
    rows: list[dict[str, Any]] = []
    rounds: dict[str, int] = {}  # of FedLT, by workload
    took: dict[str, list[float]] = defaultdict(list)

    for case in cases:
        left = end - time.monotonic()
        expected = statistics.fmean(took[case.system] or [EXPECTED[case.system]])
        if expected > left:
            found: dict[str, Any] = {"note": "not measured: no time was left"}
        else:
            began = time.monotonic()
            found = host.measure(case, min(left, LIMIT), seconds=STEADY, rounds=rounds.get(case.workload))
            took[case.system].append(time.monotonic() - began)
            found["seconds"] = took[case.system][-1]
        if case.system == "bare" and case.workload not in rounds and "seconds_per_round" in found:
            warmup = case.task(host.dry).warmup
            rounds[case.workload] = warmup + 2 + min(200, int(STEADY / found["seconds_per_round"]))
            if host.dry:
                rounds[case.workload] = case.task(dry=True).rounds
        rows.append({**asdict(case), **dict.fromkeys(FIGURES, ""), **found, "x_bare": _ratio(case, found, rows)})
        print(f"{end - time.monotonic():5.0f} s left  {case}: {_in_short(found)}", file=sys.stderr)
        part = path.with_suffix(".part")
        report.write(rows, None, part, about)
        os.replace(part, path)  # a kill leaves the whole file of the case before
    return rows


FIGURES = (
    *("images_per_second", "x_bare", "seconds_per_round", "rounds", "peak_device_mb"),
    *(f"{kind}_{where}" for where in ("per_step", "in_loop") for kind in ("syncs", "copies_back", "copies_there")),
    *("hash", "seconds", "note"),
)  # fmt: skip


def _ratio(case: Case, found: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float | str:
    """The speed against that of the bare loop in the same precision."""
    for row in [{**asdict(case), **found}, *rows]:
        same = (row["system"], row["workload"], row["precision"]) == ("bare", case.workload, case.precision)
        if same and row.get("images_per_second") and "images_per_second" in found:
            return float(found["images_per_second"] / row["images_per_second"])
    return ""


def _in_short(found: dict[str, Any]) -> str:
    return str(found["note"]) if "note" in found else f"{found['images_per_second']:.0f} images/s"


def _chosen(options: argparse.Namespace) -> list[Case]:
    systems, workloads = options.systems.split(","), options.workloads.split(",")
    return [case for case in plan() if case.system in systems and case.workload in workloads]


def _card() -> str:
    """The name of the GPU, "" where PyTorch can use none."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="within which all is over")
    parser.add_argument("--workloads", default=",".join(NAMES), help="separated by commas")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="separated by commas")
    parser.add_argument("--csv", type=Path, help=f"default: {RESULTS.name} in benchmarks/results; needed by --dry-run")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, in minute sizes; writes to --csv alone")
    options = parser.parse_args(arguments)

    for given, known in ((options.workloads, NAMES), (options.systems, SYSTEMS)):
        if unknown := sorted(set(given.split(",")) - set(known)):
            parser.error(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")

    if options.minutes <= 0:
        parser.error(f"--minutes {options.minutes}: give more than 0")
    if options.dry_run and (options.csv is None or options.csv.resolve() == RESULTS.resolve()):
        parser.error("--dry-run: name another file than that of the results (--csv dry.csv)")

    options.csv = options.csv or RESULTS
    return options


if __name__ == "__main__":
    sys.exit(main())
