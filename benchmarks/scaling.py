"""How a round's cost grows: with clients, with the cohort, with the model, with workers, with the rounds.

    python -m benchmarks.scaling --axis clients --repeats 3 --csv clients.csv

Every point is a run of FedLT on Ray in a process of its own; the points take turns within a repeat.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.measure import measure
from benchmarks.systems.personal import STRATEGY
from benchmarks.workloads import WORKLOADS, prepare

PRIVATE_HEADS = {"strategy": f"{STRATEGY}:PrivateHead", "every": 5, "evaluated": 100}
FEW_STEPS = {"clients": 4, "rows": 32, "cohort": 4, "batch_size": 8, "shape": (32, 32, 3), "block": 1}
RESNET18 = {**FEW_STEPS, "model": {"name": "resnet18"}}
RESNET34 = {**FEW_STEPS, "model": {"name": "resnet34"}}
CNN = {**FEW_STEPS, "model": {"name": "cnn"}}
RESNET8 = {**FEW_STEPS, "model": {"name": "resnet8"}}

HEAD = (
    "point",
    "images/s",
    "s/round",
    "cpu ms/image",
    "train",
    "evaluate",
    "move",
    "other",
    "drift",
    "start s",
    "peak MB",
)
NOTE = (
    "Medians. train, evaluate, move: seconds per round and worker; other: the rest of the round, waiting for the\n"
    "slower worker included. drift: a round's seconds in the last tenth of the run over those in the first.\n"
    "start: process start to the first finished round; peak MB: proportional set sizes, all processes."
)


@dataclass(frozen=True)
class Point:
    """One run: changes to a workload, and options of `benchmarks.systems.fedlt_run`."""

    workload: str
    rounds: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


AXES: dict[str, dict[str, Point]] = {
    # Private heads, 100 of which are tested every five rounds: partition, private state and metrics take part.
    "clients": {
        f"{clients} clients": Point("tiny", 22, {"clients": clients, "rows": 20 * clients}, PRIVATE_HEADS)
        for clients in (100, 1_000, 10_000, 100_000)
    },
    "cohort": {
        f"{cohort} of 1000": Point("tiny", max(12, min(200, 6_000 // cohort)), {"cohort": cohort})
        for cohort in (10, 30, 100, 300, 1_000)
    },
    "model": {
        "resnet8 0.3 MB": Point("large", 12, RESNET8),
        "cnn 8.6 MB": Point("large", 12, CNN),
        "resnet18 45 MB": Point("large", 8, RESNET18),
        "resnet34 85 MB": Point("large", 8, RESNET34),
    },
    "workers": {
        f"{workload}, {workers} workers": Point(workload, WORKLOADS[workload].rounds, {}, {"workers": workers})
        for workload in ("tiny", "cifar-cnn")
        for workers in (1, 2, 4)
    },
    "rounds": {"1000 rounds": Point("tiny", 1_002, {"cohort": 5}, {**PRIVATE_HEADS, "evaluated": 20})},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the files."""
    options = _options(arguments)
    points = AXES[options.axis]
    rows: list[dict[str, Any]] = []

    with tempfile.TemporaryDirectory(prefix="fedlt-scaling-") as folder:
        data = {}
        for name, point in points.items():
            data[name] = Path(folder) / name.replace(" ", "-").replace(",", "") / "workload.npz"
            data[name].parent.mkdir()
            prepare(replace(WORKLOADS[point.workload], **point.changes), data[name])
        names = list(points)
        for repeat in range(options.repeats):
            turn = repeat % len(names)
            for name in names[turn:] + names[:turn]:
                point = points[name]
                found = measure("fedlt-ray", point.workload, data[name], point.rounds, point.changes, point.options)
                rows.append({"axis": options.axis, "point": name, "repeat": repeat, **found})
                print(f"repeat {repeat}  {name:24s} {found['seconds_per_round']:8.3f} s/round", file=sys.stderr)
                report.write(rows, options.json, options.csv)  # what is measured is kept, whatever happens next

    print(f"{options.axis}\n\n{_table(rows)}\n\n{NOTE}")


def _table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for name in dict.fromkeys(row["point"] for row in rows):
        held = [row for row in rows if row["point"] == name]
        mid = {key: statistics.median(row[key] for row in held) for key in held[0] if key not in ("axis", "point")}
        train, evaluate, move = (mid[f"{part}_seconds"] / mid["workers"] for part in ("train", "evaluate", "move"))
        lines.append((
            name,
            f"{mid['images_per_second']:.1f}",
            f"{mid['seconds_per_round']:.3f}",
            f"{mid['cpu_ms_per_image']:.3f}",
            f"{train:.3f}",
            f"{evaluate:.3f}",
            f"{move:.3f}",
            f"{mid['seconds_per_round'] - train - evaluate - move:.3f}",
            f"{mid['drift']:.2f}",
            f"{mid['startup_seconds']:.1f}",
            f"{mid['peak_mb']:.0f}",
        ))  # fmt: skip
    return report.table(HEAD, lines)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--axis", choices=AXES, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every run and the machine to this file")
    parser.add_argument("--csv", type=Path, help="likewise as CSV, with comment lines on top")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
