"""The section of docs/performance.md on a GPU, from the rows of `python -m benchmarks.gpu`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.cases import Case

NOTHING = "Nothing was measured on a GPU yet: there was none."

Row = dict[str, str]

COLUMNS = (
    *(("workload", "workload", ""), ("system", "system", ""), ("precision", "precision", "")),
    *(("workers", "workers", ""), ("together", "together", "")),
    *(("images/s", "images_per_second", ".0f"), ("x bare", "x_bare", ".2f"), ("s/round", "seconds_per_round", ".3f")),
    *(("peak MB", "peak_device_mb", ".0f"), ("syncs a step", "syncs_per_step", ".2f")),
    *(("syncs in the loop", "syncs_in_loop", ".2f"), ("copies back a step", "copies_back_per_step", ".2f")),
    ("hash", "hash", "hash"),
)


def section(path: Path) -> str:
    """Command, table, what the hashes say, and what there is no figure of."""
    lines = path.read_text(encoding="utf-8").splitlines()
    notes = dict(line.removeprefix("# ").split(": ", 1) for line in lines if line.startswith("# "))
    rows = list(csv.DictReader(line for line in lines if not line.startswith("# ")))
    measured = [row for row in rows if row["images_per_second"]]
    missing = [f"- {_case(row)}: {row['note']}" for row in rows if not row["images_per_second"]]
    about = [notes.get("gpu", ""), notes["machine"], notes["versions"], notes.get("note", "")]

    parts = [f"```text\n{notes['command']}\n```", _table(measured)]
    parts += ["\n".join(_same(measured))] if any(row["hash"] for row in measured) else []
    parts += ["Without a figure:\n\n" + "\n".join(missing)] if missing else []
    return "\n\n".join([*parts, "; ".join(filter(None, about)) + "."])


def _table(rows: Sequence[Row]) -> str:
    head = [title for title, *_ in COLUMNS]
    body = [[_cell(row[key], form) for _, key, form in COLUMNS] for row in rows]
    rule = ["---", "---", "---", *["--:"] * (len(head) - 4), "---"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def _cell(text: str, form: str) -> str:
    if not text:
        return "-"
    return text[:8] if form == "hash" else format(float(text), form) if form else text


def _same(rows: Sequence[Row]) -> list[str]:
    """A line for each group of cases that are promised the same model: whether they gave it."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        if row["hash"]:
            groups.setdefault(_case(row).same_bits, []).append(row)
    lines = []
    for (workload, precision, _), members in groups.items():
        if len(members) > 1:
            one = members[0]["hash"]
            answers = [f"{_how(row)} {'the same' if row['hash'] == one else 'ANOTHER'}" for row in members[1:]]
            lines.append(f"- {workload}, {precision}: against {_how(members[0])}, {', '.join(answers)} model")
    return lines


def _how(row: Row) -> str:
    again = " again" if row["turn"] == "2" else ""
    return f"{row['system']} of {row['workers']}{again}"


def _case(row: Row) -> Case:
    return Case(
        row["workload"], row["system"], row["precision"], *(int(row[key]) for key in ("workers", "together", "turn"))
    )
