"""The tables of the page, as plain HTML that reads without scripts and sorts with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from fedlt.comparing.cells import Cell, mean_text
from fedlt.comparing.comparison import WHEN, Comparison
from fedlt.measures import glossary
from fedlt.measures.columns import COLUMNS
from fedlt.measures.families import GROUPS
from fedlt.measures.figure import Figure
from fedlt.measures.figures import COSTS
from fedlt.plots.measured import class_word, last, main_figure, of_classes, split_of

if TYPE_CHECKING:
    from fedlt.results.runs import Run

_CLIENT = ("train_samples", "test_samples", "accuracy", "accuracy_masked", "many", "medium", "few", "nll")
_CLIENT_OF_SEVERAL = ("train_samples", "test_samples", "map", "map_masked", "map_many", "map_medium", "map_few")
"""Columns of the table of clients; where samples have several labels, those of average precision."""
MORE = "More columns to the right: scroll sideways."
GROUP_WORDS = dict(GROUPS)
"""many -> head, ..."""


@dataclass(frozen=True)
class Number:
    """One cell.

    Attributes:
        value: what it is sorted by; None: last, whichever the order.
    """

    text: str
    value: float | None


def table(caption: str, header: Sequence[tuple[str, str]], rows: Iterable[Sequence[str | Number]], labels: int) -> str:
    """An HTML table, which says so where there is more of it than a narrow screen shows.

    Args:
        header: (text, hint) of each column; what follows a line's end in the text is small.
        labels: how many, from the left, are text.
    """
    kinds = [' class="text"' if column < labels else "" for column in range(len(header))]
    heads = "".join(
        f'<th scope="col"{kind}{_hint(hint)}>{_heading(text)}</th>'
        for kind, (text, hint) in zip(kinds, header, strict=True)
    )
    lines = "".join(
        f"<tr>{''.join(_cell(cell, kind) for cell, kind in zip(row, kinds, strict=True))}</tr>\n" for row in rows
    )
    return (
        f'<p class="caption">{escape(caption)} <span class="more">{MORE}</span></p>\n'
        f'<div class="wide" tabindex="0"><table class="sorts" aria-label="{escape(caption)}">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>\n"
    )


def _heading(text: str) -> str:
    main, _, small = text.partition("\n")
    broken = escape(main).replace("/", "/<wbr>").replace("_", "_<wbr>")
    return f"{broken}<small>{escape(small)}</small>" if small else broken


def comparison_tables(comparison: Comparison, metrics: Sequence[str]) -> str:
    """Means over the seeds at the last evaluation and over the last five; with marks where a reference was given.

    Empty where there are no metrics.
    """
    if not metrics:
        return ""
    variants = any(row.variant for row in comparison.rows)
    labels = [(key, "") for key in comparison.by] + ([("variant", glossary.VARIANT)] if variants else [])
    header = [
        *labels,
        ("n", "seeds"),
        *((_words(comparison.figures[metric]), _told(comparison.figures[metric])) for metric in metrics),
    ]
    parts = []
    for when, title in WHEN.items():
        rows: list[list[str | Number]] = [
            [*row.labels, *([row.variant or "-"] if variants else []), Number(str(len(row.seeds)), len(row.seeds)),
             *(_figure(comparison.figures[metric], row.cells[when][metric]) for metric in metrics)]
            for row in comparison.rows
        ]  # fmt: skip
        parts.append(table(title[0].upper() + title[1:], header, rows, len(labels)))
    return "".join(parts)


def class_table(methods: Mapping[str, Sequence[Run]]) -> str:
    """Accuracy (of several labels, average precision) of the models on each class, mean over the seeds."""
    first = next(iter(methods.values()))[0]
    split = split_of(first)
    counts = split.train.sum(axis=0)
    group_of = first.classes.drop_duplicates("class").set_index("class")["group_count"].to_dict()
    groups = {number: GROUP_WORDS.get(str(name), str(name)) for number, name in group_of.items()}
    columns: list[tuple[str, list[float]]] = []

    for model in ("generic", "personal"):
        for name, runs in methods.items():
            values = np.array([of_classes(run, model) for run in runs])
            if not np.isnan(values).all():
                columns.append((f"{name}, {model}", (100 * values.mean(axis=0)).tolist()))

    header = [("class", ""), ("group", COLUMNS["classes.group_count"].text),
              ("training samples", "first seed"), *((name, "%") for name, _ in columns)]  # fmt: skip
    rows: list[list[str | Number]] = [
        [split.names[c], str(groups.get(c, "-")), _number(counts[c], 0), *(_number(v[c], 1) for _, v in columns)]
        for c in np.argsort(-counts, kind="stable").tolist()
    ]

    word = class_word(first)
    return table(f"{word[0].upper()}{word[1:]} by class, %; mean over the seeds", header, rows, 2)


def _words(figure: Figure) -> str:
    """What heads a metric's column: its title, and which values are better where that is not plain."""
    text = figure.title if figure.title not in ("", figure.name) else figure.header or figure.name
    return f"{text}\nlower is better" if figure.better == "lower" and figure.name not in COSTS else text


def _told(figure: Figure) -> str:
    """What is told of a metric: its name, by which `fedlt compare --metrics` knows it, and what it means."""
    return f"{figure.name}: {glossary.full_text(figure)}"


def client_table(methods: Mapping[str, Sequence[Run]]) -> str:
    """Every client of every run at the last evaluation."""
    several = main_figure(next(iter(methods.values()))[0]) == "map"
    columns = {name: COLUMNS[f"clients.{name}"] for name in (_CLIENT_OF_SEVERAL if several else _CLIENT)}
    header = [("method", ""), ("seed", ""), ("client", ""),
              *((figure.heading, figure.text) for figure in columns.values())]  # fmt: skip
    rows: list[list[str | Number]] = []
    for name, runs in methods.items():
        for run in runs:
            found = last(run.clients)
            seed = run.summary["seed"]
            for line in found.to_dict("records"):
                rows.append([name, _number(seed, 0), _number(line["client"], 0),
                             *(_value(line.get(key, math.nan), told) for key, told in columns.items())])  # fmt: skip
    return table("Clients at the last evaluation", header, rows, 1)


def _value(value: float, figure: Figure) -> Number:
    return _number(figure.shown.scale * value, figure.shown.digits)


def _figure(figure: Figure, cell: Cell) -> Number:
    return Number(mean_text(cell, figure), None if math.isnan(cell.mean) else figure.shown.scale * cell.mean)


def _number(value: float, digits: int) -> Number:
    return Number("-", None) if math.isnan(value) else Number(f"{value:.{digits}f}", round(float(value), 6))


def _cell(cell: str | Number, kind: str) -> str:
    if isinstance(cell, str):
        return f"<td{kind}>{escape(cell)}</td>"
    if cell.value is not None and cell.text == f"{cell.value:g}":
        return f"<td{kind}>{cell.text}</td>"
    value = "" if cell.value is None else f"{cell.value:g}"
    return f'<td{kind} data-v="{value}">{escape(cell.text)}</td>'


def _hint(text: str) -> str:
    return f' title="{escape(text)}"' if text else ""
