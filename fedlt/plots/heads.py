"""What heads and decoders make of finished runs: their tables as pictures, the run's own prediction first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedlt.data.groups import SHOTS
from fedlt.plots.chart import Array, Axis, Chart, Line, limits
from fedlt.plots.figure import side_by_side
from fedlt.plots.layout import PAGE
from fedlt.plots.style import looks, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ACCURACIES = ("balanced", *SHOTS)
SPAN = 30.0
"""Per cent that an axis of accuracies spans at least."""
FEW_HEADS = 4
"""Up to here, the panels of two methods stand side by side."""


def heads_figure(tables: Mapping[str, pd.DataFrame], width: float = PAGE) -> Figure:
    """Accuracy on head, medium and tail classes and their balanced mean, of the run's prediction and of each head.

    tables: by what stands above a panel, those of `fedlt.heads.fitted.head_table`, or of several seeds with
    deviations beside the means (`fedlt.heads.over_seeds`). width: inches.
    """
    charts = [_heads(title, table) for title, table in tables.items()]
    low, high = limits([line for chart in charts for line in chart.lines], SPAN, -3.0, 103.0)
    alike = [replace(chart, y=replace(chart.y, low=low, high=high)) for chart in charts]
    narrow = len(charts) > 1 and max(map(len, tables.values())) <= FEW_HEADS
    with style():
        return side_by_side(alike, width, columns=2 if narrow else 1, height=2.8, least=3.2)


def decoders_figure(tables: Mapping[str, pd.DataFrame], width: float = PAGE) -> Figure:
    """Squared distances and accuracies under both decoders, over all classes and by head, medium and tail.

    tables: likewise, of `fedlt.heads.loki.decoded_table`.
    """
    charts = []
    for title, table in tables.items():
        before = f"{title}: " if title else ""
        distance, accuracy = Axis("mean squared distance", low=0.0), Axis("accuracy", "%", low=0.0, high=103.0)
        charts.append(_decoders(f"{before}squared distance", distance, table, ("squared", *SHOTS)))
        of_groups = (f"accuracy_{shot}" for shot in SHOTS)
        charts.append(_decoders(f"{before}accuracy", accuracy, table, ("accuracy", *of_groups), 100.0))

    high = 1.08 * max((float(line.band[1].max()) for chart in charts[::2] for line in chart.lines), default=1.0)
    charts[::2] = [replace(chart, y=replace(chart.y, high=high or 1.0)) for chart in charts[::2]]
    with style():
        return side_by_side(charts, width, columns=2, height=2.4, least=2.5)


def _heads(title: str, table: pd.DataFrame) -> Chart:
    """A mark for each group of classes above each head."""
    given = [f"{model} {options}".strip() for model, options in zip(table["model"], table["options"], strict=True)]
    lines = []
    for place, (name, look) in enumerate(looks(ACCURACIES).items()):
        beside = 0.15 * (place - (len(ACCURACIES) - 1) / 2)
        spread = _column(table, f"{name}_std", 100.0)
        lines += _marks(Line(name, np.arange(len(table)), 100 * table[name].to_numpy(float), look, spread=spread,
                             offset=beside, within=(0.0, 100.0)))  # fmt: skip
    return Chart(
        name="heads",
        title=title,
        x=Axis("", low=-0.5, high=len(given) - 0.5, names=tuple(given)),
        y=Axis("accuracy", "%"),
        marks=tuple(lines),
        note=_note(table),
        ruled=True,
        dividers=(0.5,),
        empty="no test rows",
    )


def _decoders(title: str, y: Axis, table: pd.DataFrame, columns: Sequence[str], scale: float = 1.0) -> Chart:
    """A mark for each decoder above each group of classes."""
    means = scale * table[list(columns)].to_numpy(float)
    spreads = [_column(table, f"{column}_std", scale) for column in columns]
    lines = []
    for place, (name, look) in enumerate(looks(table["decoder"]).items()):
        beside = 0.12 * (place - (len(table) - 1) / 2)
        spread = np.array([each[place] for each in spreads if each is not None]) if spreads[0] is not None else None
        lines += _marks(Line(name, np.arange(len(columns)), means[place], look, spread=spread, offset=beside,
                             within=(0.0, 100.0 if y.high else np.inf)))  # fmt: skip
    return Chart(
        name="decoders",
        title=title,
        x=Axis("classes", low=-0.5, high=len(columns) - 0.5, names=("all", *SHOTS)),
        y=y,
        marks=tuple(lines),
        note=_note(table),
        ruled=True,
        dividers=(0.5,),
        empty="no test rows",
    )


def _marks(line: Line) -> list[Line]:
    """Its points that have a value, with no line between them: neither heads nor groups are steps of a way."""
    known = ~np.isnan(line.y)
    if not known.any():
        return []
    spread = None if line.spread is None else np.nan_to_num(line.spread[known])
    look = replace(line.look, dash="none")
    return [replace(line, x=line.x[known], y=line.y[known], spread=spread, bars=spread is not None, look=look)]


def _column(table: pd.DataFrame, name: str, scale: float) -> Array | None:
    """[n] a column's values; None where there is no such column."""
    return scale * table[name].to_numpy(float) if name in table else None


def _note(table: pd.DataFrame) -> str:
    """How many seeds the table has, where it says so."""
    seeds = int(table["seeds"].max()) if "seeds" in table else 1
    return f"Mean of {seeds} seeds; bars: ± 1 standard deviation." if seeds > 1 else ""
