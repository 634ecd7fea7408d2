"""A table of text, and the ways of writing it down: terminal, Markdown, LaTeX."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_LATEX = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}


@dataclass(frozen=True)
class Sheet:
    """One table of text.

    labels: how many columns, from the left, hold labels.
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    labels: int


def page(title: str, sheets: Iterable[Sheet], notes: Sequence[str], format: str) -> str:
    """The sheets one below the other, the title (none if empty) above them and the notes below.

    format: text, markdown or latex.
    """
    write = {"text": _text, "markdown": _markdown, "latex": _latex}[format]
    remark = "% " if format == "latex" else ""
    heading = [f"{'### ' if format == 'markdown' else remark}{title}"] if title else []
    return "\n\n".join([*heading, *(write(sheet) for sheet in sheets), "\n".join(remark + note for note in notes)])


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
    return f"{sheet.title}\n\n{plain_text(rich_table(sheet))}"


def rich_table(sheet: Sheet) -> Table:
    """The sheet for a terminal, without its title."""
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
