"""Curves over rounds: a line for each method, a band for its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedlt.measures.glossary import described
from fedlt.measures.metrics import GROUPS
from fedlt.plots.chart import Axis, Chart, limits, mean_line
from fedlt.plots.measured import by_name, series
from fedlt.plots.on_axes import draw_on
from fedlt.plots.style import looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from fedlt.results.runs import Run

Runs = Sequence["Run"] | Mapping[str, Sequence["Run"]]
LEAST = 10.0
"""Points that an axis of accuracies spans at least."""
NAMES = dict(zip(GROUPS, ("head classes", "medium classes", "tail classes"), strict=True))


def learning_curves(ax: Axes, runs: Runs, metric: str = "generic/accuracy", by: str | None = None) -> None:
    """Mean of a metric over the seeds of each method, with a band of one sample standard deviation.

    Only rounds at which all seeds of a method have the metric are drawn.
    """
    draw_on(ax, curve_chart(by_name(runs, by), metric))


def class_norms(ax: Axes, runs: Sequence[Run], column: str = "head_norm") -> None:
    """Mean norm of the generic head's rows over head, medium and tail classes, round by round, of one method.

    Mean over the seeds with a band of one sample standard deviation. column: `head_norm`, or `feature_norm`, the
    distance of the class means from their mean.
    """
    draw_on(ax, norms_chart(runs, column))


def curve_chart(methods: Mapping[str, Sequence[Run]], metric: str, from_zero: bool = False) -> Chart:
    """See `learning_curves`. An axis in per cent spans ten points at least; `from_zero`: others start at 0."""
    own = {name: figure for runs in methods.values() for run in runs for name, figure in run.figures.items()}
    found = {name: series(runs, metric) for name, runs in methods.items()}
    figure = described(metric, own).of_values(v for _, values in found.values() for v in values.ravel().tolist())
    unit = figure.shown
    lines = tuple(
        mean_line(name, rounds, unit.scale * values, looks(methods)[name], f"{name} (n = {len(values)})")
        for name, (rounds, values) in found.items()
        if len(rounds)
    )

    share = figure.unit == "fraction"
    low, high = limits(lines, LEAST, -2.0, 102.0) if share else (0.0 if from_zero else None, None)
    return Chart(
        name=f"curve-{metric.replace('/', '-')}",
        title=figure.title,
        x=Axis("round", whole=True),
        y=Axis(figure.axis or figure.last_part, unit.word, low=low, high=high, digits=unit.digits),
        marks=lines,
        ruled=True,
    )


def norms_chart(runs: Sequence[Run], column: str = "head_norm", title: str = "") -> Chart:
    """See `class_norms`."""
    tables = [_norms(run, column) for run in runs]
    lines = []
    for group, look in looks(NAMES).items():
        held = [table[group] for table in tables if group in table]
        if len(held) == len(tables):
            rounds = sorted(set.intersection(*(set(found.index) for found in held)))
            values = np.array([found.loc[rounds] for found in held])
            lines.append(mean_line(NAMES[group], np.array(rounds), values, look))
    return Chart(
        name="norms",
        title=title,
        x=Axis("round", whole=True),
        y=Axis("norm of the head's rows" if column == "head_norm" else "norm of the class means",
               low=0.0 if lines else None, digits=3),
        marks=tuple(lines),
        ruled=True,
        empty="no linear head" if any(len(run.classes) for run in runs) else "no generic model",
    )  # fmt: skip


def _norms(run: Run, column: str) -> pd.DataFrame:
    """Means over the classes of each group: a row a round, a column a group."""
    table = run.classes
    table = table[table.model == "generic"].dropna(subset=[column])
    return table.pivot_table(index="round", columns="group_count", values=column, aggfunc="mean")
