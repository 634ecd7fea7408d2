"""Writing a comparison down: terminal table, Markdown, LaTeX, CSV, JSON. Accuracies are in per cent, except in the
last two, which are for programs."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedlt.comparing.comparison import BALANCED, COSTS, WHEN, Cell, Comparison, Row
from fedlt.comparing.run_keys import some
from fedlt.results.record import LAST

if TYPE_CHECKING:
    from rich.table import Table

    from fedlt.comparing.select import Selection

FORMATS = ("text", "markdown", "latex", "csv", "json")
ENDINGS = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json", ".txt": "text"}
_HEADERS = {
    "generic/accuracy": "generic", BALANCED: "balanced",
    "generic/many": "head", "generic/medium": "medium", "generic/few": "tail",
    "personal/accuracy": "personal", "personal_masked/accuracy": "masked", "personal/worst_decile": "worst 10 %",
    "cost/seconds": "s/round", "cost/mb_up": "MB up", "cost/mb_down": "MB down",
}  # fmt: skip
_LATEX = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}


@dataclass(frozen=True)
class Sheet:
    """One table of text. labels: how many columns, from the left, hold labels."""

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    labels: int


def render(tables: Sequence[Comparison], format: str) -> str:
    """The comparisons in one of the `FORMATS`, without a newline at the end."""
    if format == "csv":
        import pandas as pd

        return str(pd.concat([table.frame() for table in tables]).to_csv(index=False, lineterminator="\n")).rstrip("\n")
    if format == "json":
        found = [as_dict(table) for table in tables]
        return json.dumps(found[0] if len(found) == 1 else found, indent=1, allow_nan=False)
    return "\n\n".join(_page(table, format) for table in tables)


def _page(table: Comparison, format: str) -> str:
    write = {"text": _text, "markdown": _markdown, "latex": _latex}[format]
    remark = "% " if format == "latex" else ""
    heading = [f"{'### ' if format == 'markdown' else remark}{table.title}"] if table.title else []
    notes = "\n".join(remark + note for note in caption(table))
    return "\n\n".join([*heading, *(write(sheet) for sheet in sheets(table)), notes])


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
    return {
        "figures": dict(selection.weights),
        "by": list(selection.by),
        "keys": list(selection.keys),
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


def sheets(comparison: Comparison) -> list[Sheet]:
    """Means for both kinds of evaluation; with a reference, the differences to it as well.

    Where settings were chosen on validation data, what was tried stands first.
    """
    found = [_tried_sheet(comparison.selection)] if comparison.selection else []
    for when, title in WHEN.items():
        found.append(_sheet(comparison, when, f"accuracy in %, {title}", comparison.metrics, _mean))
    if comparison.reference:
        compared = [metric for metric in comparison.metrics if metric not in COSTS]
        for when, title in WHEN.items():
            head = f"difference to {comparison.reference} in points with {comparison.level:.0%} interval, {title}"
            found.append(_sheet(comparison, when, head, compared, _difference))
    return found


def caption(comparison: Comparison) -> list[str]:
    """What the reader must know, one note a line."""
    notes = ["Mean ± sample standard deviation over n seeds; n in brackets where a figure is defined for fewer."]
    notes += comparison.selection.notes if comparison.selection else ()
    if comparison.averaged < LAST:
        notes.append(f"Some runs have only {comparison.averaged} evaluations: their mean is over these.")

    if BALANCED in comparison.metrics:
        notes.append(
            "Balanced, head, medium and tail are means of class recalls. Where test sets are not balanced, generic is "
            "over samples, and large classes decide it."
        )

    if comparison.reference:
        notes.append(
            f"↑ ↓: higher or lower than {comparison.reference}; the {comparison.level:.0%} confidence interval of the "
            "paired differences over the same seeds excludes zero."
        )

    told = {row.labels: f"{', '.join(row.labels)}: {', '.join(row.needs)}" for row in comparison.rows if row.needs}
    if told:
        notes.append(f"Beyond the model these have or send: {'; '.join(told.values())}.")
    notes += [f"In no figure, as they have no test sample: {classes}." for classes in comparison.untested]

    if comparison.unknown:
        notes.append(
            "Written before digests were kept, so that whether all were made of the same files is not known: "
            f"{some(comparison.unknown)}."
        )

    notes += [f"left out: {run}" for run in comparison.excluded]
    return notes


def rich_tables(comparison: Comparison) -> list[tuple[str, Table]]:
    """The sheets for a terminal: titles and tables."""
    return [(sheet.title, _rich(sheet)) for sheet in sheets(comparison)]


def _sheet(comparison: Comparison, when: str, title: str, metrics: Sequence[str], show: Any) -> Sheet:
    variants = any(row.variant for row in comparison.rows)
    chosen = comparison.selection is not None
    header = (*comparison.by, *(["variant"] if variants else []), *(["chosen setting", "tried"] if chosen else []), "n",
              *(_HEADERS.get(m, m) for m in metrics))  # fmt: skip
    lines = tuple(
        (*row.labels, *([row.variant or "-"] if variants else []), *([row.setting, str(row.tried)] if chosen else []),
         str(len(row.seeds)), *(show(row, metric, row.cells[when][metric]) for metric in metrics))
        for row in comparison.rows
    )  # fmt: skip
    return Sheet(title, header, lines, len(comparison.by) + variants + chosen)


def _tried_sheet(selection: Selection) -> Sheet:
    """Every setting of every method with its validation figures, by which the settings were chosen."""
    mean = ["weighted mean"] if len(selection.weights) > 1 else []
    header = (*selection.by, *selection.keys, "chosen", "n", *selection.weights, *mean)
    lines = tuple(
        (*trial.method, *trial.setting, "yes" if trial.chosen else "", str(len(trial.seeds)),
         *(_percent(cell) for cell in trial.cells))
        for trial in selection.trials
    )  # fmt: skip
    labels = len(selection.by) + len(selection.keys) + 1
    return Sheet("settings tried, validation figures in %, last evaluation", header, lines, labels)


def _percent(cell: Cell) -> str:
    text = "-" if math.isnan(cell.mean) else f"{100 * cell.mean:.1f}"
    return text if math.isnan(cell.std) else f"{text} ± {100 * cell.std:.1f}"


def _mean(row: Row, metric: str, cell: Cell) -> str:
    if math.isnan(cell.mean):
        return "-"
    scale, digits = (1.0, 2) if metric in COSTS else (100.0, 1)
    text = f"{scale * cell.mean:.{digits}f}"
    if not math.isnan(cell.std) and metric not in COSTS[1:]:
        text += f" ± {scale * cell.std:.{digits}f}"
    if cell.n < len(row.seeds):
        text += f" ({cell.n})"
    return text + {1: " ↑", -1: " ↓", 0: ""}[cell.paired.mark if cell.paired else 0]


def _difference(row: Row, metric: str, cell: Cell) -> str:
    pair = cell.paired
    if pair is None or math.isnan(pair.mean):
        return "-"
    text = _points(pair.mean)
    if not math.isnan(pair.low):
        text += f" [{_points(pair.low)}, {_points(pair.high)}]"
    return text + {1: " ↑", -1: " ↓", 0: ""}[pair.mark]


def _points(share: float) -> str:
    """With its sign; a zero is positive."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def plain_text(table: Table) -> str:
    """A table without colours, and as wide as it needs: for pipes and files."""
    from rich.console import Console

    text = io.StringIO()
    Console(
        file=text, width=1000, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    ).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def _text(sheet: Sheet) -> str:
    """The title is no part of the table: it would wrap at the table's width."""
    return f"{sheet.title}\n\n{plain_text(_rich(sheet))}"


def _rich(sheet: Sheet) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for number, name in enumerate(sheet.header):
        table.add_column(escape(name), justify="left" if number < sheet.labels else "right")
    for line in sheet.lines:
        table.add_row(*(escape(cell) for cell in line))
    return table


def _markdown(sheet: Sheet) -> str:
    rule = [":--" if number < sheet.labels else "--:" for number in range(len(sheet.header))]
    rows = [sheet.header, tuple(rule), *sheet.lines]
    table = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)
    return f"**{sheet.title}**\n\n{table}"


def _latex(sheet: Sheet) -> str:
    """A `tabular` with the rules of the booktabs package; without a float around it."""
    rows = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in (sheet.header, *sheet.lines)]
    columns = "l" * sheet.labels + "r" * (len(sheet.header) - sheet.labels)
    begin = rf"\begin{{tabular}}{{{columns}}}"
    lines = [f"% {sheet.title}", begin, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines)


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
