"""What heads and decoders make of finished runs: their tables as pictures, the run's own prediction first."""

from __future__ import annotations

from collections.abc import Sequence
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


def heads_figure(table: pd.DataFrame, width: float = PAGE) -> Figure:
    """Accuracy on head, medium and tail classes and their balanced mean, of the run's prediction and of each head.

    Args:
        table: that of `fedlt.heads.fitted.head_table`, or of several runs (`fedlt.heads.over_seeds`), with a panel for
            each method and deviations as bars.
        width: inches.
    """
    tables = _by_method(table)
    charts = [_heads(title, rows) for title, rows in tables.items()]
    low, high = limits([line for chart in charts for line in chart.lines], SPAN, -3.0, 103.0)
    alike = [replace(chart, y=replace(chart.y, low=low, high=high)) for chart in charts]
    narrow = len(charts) > 1 and max(map(len, tables.values())) <= FEW_HEADS
    with style():
        return side_by_side(alike, width, columns=2 if narrow else 1, height=2.8, least=3.2)


def decoders_figure(table: pd.DataFrame, width: float = PAGE) -> Figure:
    """Squared distances and accuracies under both decoders, over all classes and by head, medium and tail.

    Args:
        table: that of `fedlt.heads.loki.decoded_table`, or of several runs, as in `heads_figure`.
        width: inches.
    """
    charts = []
    for title, rows in _by_method(table).items():
        before = f"{title}: " if title else ""
        distance, accuracy = Axis("mean squared distance", low=0.0), Axis("accuracy", "%", low=0.0, high=103.0)
        charts.append(_decoders(f"{before}squared distance", distance, rows, ("squared", *SHOTS)))
        of_groups = (f"accuracy_{shot}" for shot in SHOTS)
        charts.append(_decoders(f"{before}accuracy", accuracy, rows, ("accuracy", *of_groups), 100.0))

    high = 1.08 * max((float(line.band[1].max()) for chart in charts[::2] for line in chart.lines), default=1.0)
    charts[::2] = [replace(chart, y=replace(chart.y, high=high or 1.0)) for chart in charts[::2]]
    with style():
        return side_by_side(charts, width, columns=2, height=2.4, least=2.5)


def _by_method(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What stands above a panel, and its rows."""
    if "method" not in table:
        return {"": table}
    return {str(method): rows for method, rows in table.groupby("method", sort=False)}


def _heads(title: str, table: pd.DataFrame) -> Chart:
    """A mark for each group of classes above each head."""
    given = [f"{model} {options}".strip() for model, options in zip(table["model"], table["options"], strict=True)]
    lines = []
    for place, (name, look) in enumerate(looks(ACCURACIES).items()):
        beside = 0.15 * (place - (len(ACCURACIES) - 1) / 2)
        spread = 100 * _deviations(table, name)
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
    spreads = scale * np.array([_deviations(table, column) for column in columns])
    lines = []
    for place, (name, look) in enumerate(looks(table["decoder"]).items()):
        beside = 0.12 * (place - (len(table) - 1) / 2)
        lines += _marks(Line(name, np.arange(len(columns)), means[place], look, spread=spreads[:, place], offset=beside,
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
    look, spread = replace(line.look, dash="none"), None
    if line.spread is not None and not np.isnan(line.spread[known]).all():
        spread = np.nan_to_num(line.spread[known])
    return [replace(line, x=line.x[known], y=line.y[known], spread=spread, bars=spread is not None, look=look)]


def _deviations(table: pd.DataFrame, name: str) -> Array:
    """[n] the standard deviations of a column; NaN where there are none."""
    return table[f"{name}_std"].to_numpy(float) if f"{name}_std" in table else np.full(len(table), np.nan)


def _note(table: pd.DataFrame) -> str:
    """How many seeds the table has, where it says so."""
    seeds = int(table["seeds"].max()) if "seeds" in table else 1
    return f"Mean of {seeds} seeds; bars: ± 1 standard deviation." if seeds > 1 else ""
