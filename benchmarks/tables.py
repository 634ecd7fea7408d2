"""Markdown tables of committed results: `python -m benchmarks.tables benchmarks/results/*.csv`, as in
docs/performance.md."""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.systems import BARE

SPEED = (
    ("images/s", "images_per_second", 1.0, ".0f"),
    ("s/round", "seconds_per_round", 1.0, ".3f"),
    ("cpu ms/image", "cpu_ms_per_image", 1.0, ".3f"),
    ("start s", "startup_seconds", 1.0, ".1f"),
    ("peak MB", "peak_mb", 1.0, ".0f"),
    ("others %", "others_cpu_share", 100.0, ".0f"),
)
RATIOS = ("images_per_second", "cpu_ms_per_image", "peak_mb")
STARTUP = (("s", "seconds", 1.0, ".2f"), ("whole command s", "process_seconds", 1.0, ".2f"))


def main(paths: Sequence[str]) -> None:
    """Print the table of each file under the command that made it."""
    for path in map(Path, paths):
        lines = path.read_text(encoding="utf-8").splitlines()
        notes = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
        rows = list(csv.DictReader(line for line in lines if not line.startswith("# ")))
        print(f"\n`{path.name}`: {notes[0].removeprefix('command: ')}\n\n{table(rows)}")


def table(rows: list[dict[str, str]]) -> str:
    """Medians by system, point or command; against the faster bare loop where there is one."""
    label = next(name for name in ("system", "point", "command") if name in rows[0])
    columns = STARTUP if label == "command" else SPEED
    names = list(dict.fromkeys(row[label] for row in rows))

    def median(name: str, key: str) -> float:
        return statistics.median(float(row[key]) for row in rows if row[label] == name)

    bare = [name for name in names if name in BARE]
    limit = max(bare, key=lambda name: median(name, "images_per_second")) if bare else None
    head, body = [label], [[name] for name in names]
    for title, key, factor, form in columns:
        ratio = limit is not None and key in RATIOS
        head += [title, "x bare"] if ratio else [title]
        for cells in body:
            value = median(cells[0], key)
            cells.append(format(factor * value, form))
            if limit is not None and ratio:
                cells.append(f"{value / median(limit, key):.2f}")
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


if __name__ == "__main__":
    main(sys.argv[1:])
