"""Writing comparisons down: as text, Markdown or LaTeX for readers; as CSV or JSON, with fractions, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedlt.comparing.comparison import Comparison, caption, sheets
from fedlt.comparing.selection import Selection
from fedlt.comparing.sheet import blocks, page, rich_table

if TYPE_CHECKING:
    from rich.table import Table

FORMATS = ("text", "markdown", "latex", "csv", "json")
ENDINGS = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json", ".txt": "text"}


def render(tables: Sequence[Comparison], format: str) -> str:
    """The comparisons in one of the `FORMATS`, without a newline at the end."""
    if format == "csv":
        import pandas as pd

        return str(pd.concat([table.frame() for table in tables]).to_csv(index=False, lineterminator="\n")).rstrip("\n")
    if format == "json":
        found = [as_dict(table) for table in tables]
        return json.dumps(found[0] if len(found) == 1 else found, indent=1, allow_nan=False)
    return "\n\n".join(page(table.title, sheets(table), caption(table), format) for table in tables)


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """What the JSON holds. Figures that are not defined are null."""
    records = [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in line.items()}
        for line in comparison.records()
    ]

    return {
        "title": comparison.title,
        "by": list(comparison.by),
        "reference": comparison.reference,
        "level": comparison.level,
        "seeds": {row.name: list(row.seeds) for row in comparison.rows},
        "needs": {row.name: list(row.needs) for row in comparison.rows},
        "excluded": list(comparison.excluded),
        **({"selection": _selection_dict(comparison.selection)} if comparison.selection else {}),
        "rows": records,
    }


def _selection_dict(selection: Selection) -> dict[str, Any]:
    """A selection as JSON holds it: what was chosen by, and every trial. Figures that are not defined are null."""
    return {
        "figures": dict(selection.weights),
        "by": list(selection.by),
        "keys": list(selection.keys),
        # Every setting that was tried, with its figures in the order of `figures`.
        "trials": [
            {
                "method": list(trial.method),
                "setting": list(trial.setting),
                "seeds": list(trial.seeds),
                "means": [None if math.isnan(cell.mean) else cell.mean for cell in trial.cells],
                "chosen": trial.chosen,
            }
            for trial in selection.trials
        ],
        "notes": list(selection.notes),
    }


def rich_tables(comparison: Comparison, width: int) -> list[tuple[str, list[Table]]]:
    """The sheets for a terminal of so many characters: titles, and the tables below each."""
    return [(sheet.title, [rich_table(part) for part in blocks(sheet, width)]) for sheet in sheets(comparison)]
