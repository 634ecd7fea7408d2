"""A table of text, and the ways of writing it down: terminal, Markdown, LaTeX."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_LATEX = {
    "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": "$<$", ">": "$>$", "|": "$|$",
    "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip

WIDTH = 110
"""Characters in a line of text; a wider table goes on below, with its labels again."""


@dataclass(frozen=True)
class Sheet:
    """One table of text.

    Attributes:
        labels: how many columns, from the left, hold labels.
        best: cells that are the best of their column, as (line, column).
    """

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    labels: int
    best: frozenset[tuple[int, int]] = frozenset()

    def columns(self, chosen: Sequence[int]) -> Sheet:
        """The same lines with these columns alone, in this order; the labels are among them."""
        return Sheet(
            self.title,
            tuple(self.header[column] for column in chosen),
            tuple(tuple(line[column] for column in chosen) for line in self.lines),
            self.labels,
            frozenset((line, chosen.index(column)) for line, column in self.best if column in chosen),
        )


def blocks(sheet: Sheet, width: int) -> list[Sheet]:
    """The sheet in as many parts as it takes for none to be wider than `width`; each has the labels, and whole columns.

    A part has one further column at least, however wide that is.
    """
    labels = list(range(sheet.labels))
    parts = [[*labels]]
    for column in range(sheet.labels, len(sheet.header)):
        if len(parts[-1]) > len(labels) and text_width(sheet.columns([*parts[-1], column])) > width:
            parts.append([*labels])
        parts[-1].append(column)
    return [sheet.columns(part) for part in parts]


def text_width(sheet: Sheet) -> int:
    """Characters in the longest line of the sheet as text."""
    return max(map(len, plain_text(rich_table(sheet)).splitlines()))


def page(title: str, sheets: Iterable[Sheet], notes: Sequence[str], format: str) -> str:
    """The sheets one below the other, the title (none if empty) above them and the notes below.

    Args:
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
    return "\n\n".join([sheet.title, *(plain_text(rich_table(part)) for part in blocks(sheet, WIDTH))])


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
    """A `tabular` with the rules of the booktabs package; without a float around it. The best of a column is bold."""
    lines = [sheet.header, *sheet.lines]
    cells = [
        [_bold(cell) if (number - 1, column) in sheet.best else _tex(cell) for column, cell in enumerate(line)]
        for number, line in enumerate(lines)
    ]
    rows = [" & ".join(line) + r" \\" for line in cells]
    columns = "l" * sheet.labels + "r" * (len(sheet.header) - sheet.labels)
    begin = rf"\begin{{tabular}}{{{columns}}}"
    rules = [begin, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"]
    return "\n".join([f"% {sheet.title}; needs \\usepackage{{booktabs}}", *rules])


def _bold(cell: str) -> str:
    """A figure in bold, and what stands behind it as it is: its deviation, and its mark."""
    figure, space, rest = cell.partition(" ")
    return rf"\textbf{{{_tex(figure)}}}{space}{_tex(rest)}"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
