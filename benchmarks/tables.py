"""Markdown tables of committed results: `python -m benchmarks.tables`.

Fills docs/performance.md and benchmarks/LOG.md: each `<!-- results: NAME -->` is followed by the table of
benchmarks/results/NAME.csv.
"""

from __future__ import annotations

import csv
import math
import re
import statistics
import textwrap
from collections.abc import Callable
from pathlib import Path

from benchmarks import personal
from benchmarks.gpu import page
from benchmarks.systems import BARE

RESULTS = Path(__file__).parent / "results"
PAGES = (Path(__file__).parents[1] / "docs" / "performance.md", Path(__file__).with_name("LOG.md"))

SPEED = (
    ("images/s", "images_per_second", 1.0, ".0f"),
    ("s/round", "seconds_per_round", 1.0, ".3f"),
    ("cpu ms/image", "cpu_ms_per_image", 1.0, ".3f"),
    ("start s", "startup_seconds", 1.0, ".1f"),
    ("peak MB", "peak_mb", 1.0, ".0f"),
    ("others %", "others_cpu_share", 100.0, ".0f"),
    ("drift", "drift", 1.0, ".2f"),
)
RATIOS = ("images_per_second", "cpu_ms_per_image", "peak_mb")
TESTS = tuple((field, field, 1.0, ".2f") for field in personal.FIELDS)
STUDY = (
    ("s", "wall_seconds", 1.0, ".1f"),
    ("cpu s", "processor_seconds", 1.0, ".1f"),
    ("steps", "steps", 1.0, ".0f"),
    ("accuracy", "accuracy", 1.0, ".3f"),
    ("x as quick", "quicker", 1.0, ".2f"),
)
FLOORS = ("ms a round", "x FedAvg", "work", "clients x work", "server x FedAvg")
RAY_FLOOR = (
    ("s", "seconds", 1.0, ".2f"),
    ("cpu s", "cpu_seconds", 1.0, ".2f"),
    ("MB", "mb", 1.0, ".0f"),
    *((f"{part} MB", f"{part}_mb", 1.0, ".0f") for part in ("driver", "workers", "gcs", "raylet", "services")),
)
STARTUP = (("s", "seconds", 1.0, ".2f"), ("whole command s", "process_seconds", 1.0, ".2f"))


def main() -> None:
    """Write the tables of all results that are there into the pages."""

    def text(name: str) -> str:
        path = RESULTS / f"{name}.csv"
        if name == "gpu":
            return page.section(path) if path.exists() else page.NOTHING
        return section(path) if path.exists() else "Not measured yet."

    for written in PAGES:
        fill(written, text)


def fill(page: Path, text: Callable[[str], str]) -> None:
    """Put text(NAME) behind each `<!-- results: NAME -->` of a page, up to `<!-- end -->`."""

    def put(found: re.Match[str]) -> str:
        return f"{found[1]}{text(found[2])}\n{found[3]}"

    pattern = r"(<!-- results: (.+?) -->\n).*?(<!-- end -->)"
    page.write_text(re.sub(pattern, put, page.read_text(encoding="utf-8"), flags=re.DOTALL), encoding="utf-8")


def section(path: Path) -> str:
    """Command, machine and table of one file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    notes = dict(line.removeprefix("# ").split(": ", 1) for line in lines if line.startswith("# "))
    rows = list(csv.DictReader(line for line in lines if not line.startswith("# ")))
    repeats = len({row["repeat"] for row in rows if "repeat" in row})
    about = [
        f"{repeats} repeat{'s' if repeats > 1 else ''}" if repeats else "",
        notes["machine"],
        notes["versions"],
        notes.get("note", ""),
    ]
    command = " \\\n".join(textwrap.wrap(notes["command"], 96, subsequent_indent="    ", break_on_hyphens=False))
    return f"```text\n{command}\n```\n\n{table(rows)}\n\n{'; '.join(filter(None, about))}."


def table(rows: list[dict[str, str]]) -> str:
    """Medians by system, point, command, run, study or session; against the faster bare loop where there is one."""
    if "reason" in rows[0]:
        return floors(rows)
    known = {
        "system": SPEED[:-1],
        "point": SPEED,
        "command": STARTUP,
        "run": TESTS,
        "study": STUDY,
        "session": RAY_FLOOR,
    }
    label, columns = next((name, columns) for name, columns in known.items() if name in rows[0])
    names = list(dict.fromkeys(row[label] for row in rows))

    def median(name: str, key: str) -> float:
        return statistics.median(float(row[key] or "nan") for row in rows if row[label] == name)

    bare = [name for name in names if name in BARE]
    limit = max(bare, key=lambda name: median(name, "images_per_second")) if bare else None
    head, body = [label], [[name] for name in names]
    for title, key, factor, form in columns:
        if not any(row.get(key) for row in rows):  # not measured: as memory where systems took turns
            continue
        ratio = limit is not None and key in RATIOS
        head += [title, "x bare"] if ratio else [title]
        for cells in body:
            value = median(cells[0], key)
            cells.append("-" if math.isnan(value) else format(factor * value, form))
            if limit is not None and ratio:
                cells.append(f"{value / median(limit, key):.2f}")
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def floors(rows: list[dict[str, str]]) -> str:
    """Every method beside its arithmetic, the dearest first, with the reason where it has one; below, what the scenario
    does not suit.
    """
    measured = [row for row in rows if not row.get("cannot")]
    others = ", ".join(row["name"] for row in rows if row.get("cannot"))
    head = ["method", *FLOORS, "reason"]
    rule = ["---", *["--:"] * len(FLOORS), "---"]
    body = [
        [row["name"], *(f"{float(row[field]):.2f}" for field in FLOORS), row["reason"]]
        for row in sorted(measured, key=lambda row: -float(row["clients x work"]))
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]
    return "\n".join([*lines, *(["", f"Of other data or models, and not measured: {others}."] if others else [])])


if __name__ == "__main__":
    main()
