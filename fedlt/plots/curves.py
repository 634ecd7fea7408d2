"""Curves over rounds: a line for each method, a band for its seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.measures.glossary import described
from fedlt.measures.metrics import GROUPS
from fedlt.plots.chart import Array, Axis, Chart, Line, limits, mean_line
from fedlt.plots.measured import Runs, by_name, listed, marked, note_on_chance, series, timed_series, told_seeds
from fedlt.plots.on_axes import draw_on
from fedlt.plots.style import looks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from fedlt.comparing.methods import Source
    from fedlt.results.runs import Run

LEAST = 10.0
"""Points that an axis of accuracies spans at least."""
FAR = 20.0
"""How many times as large as the median of the last means the largest is, where steps of an axis multiply."""
NAMES = dict(zip(GROUPS, ("head classes", "medium classes", "tail classes"), strict=True))


def learning_curves(
    ax: Axes, runs: Runs, metric: str = "generic/accuracy", by: str | None = None, timed: bool = False
) -> None:
    """Mean of a metric over the seeds of each method, with a band of one sample standard deviation.

    Only rounds at which all seeds of a method have the metric are drawn.

    Args:
        timed: over the simulated seconds of the clients' devices (`federation.clock`) in place of rounds, as far as all
            seeds of a method have come.
    """
    chart = curve_chart(by_name(runs, by), metric, timed=timed)
    lines = (
        line if line.label.endswith(")") else replace(line, label=f"{line.label} (n = {line.seeds})")
        for line in chart.lines
    )
    draw_on(ax, replace(chart, marks=tuple(lines)))


def class_norms(ax: Axes, runs: Source, column: str = "head_norm") -> None:
    """Mean norm of the generic head's rows over head, medium and tail classes, round by round, of one method.

    Mean over the seeds with a band of one sample standard deviation.

    Args:
        column: `head_norm`, or `feature_norm`, the distance of the class means from their mean.
    """
    draw_on(ax, norms_chart(listed(runs), column))


def curve_chart(
    methods: Mapping[str, Sequence[Run]], metric: str, from_zero: bool = False, timed: bool = False
) -> Chart:
    """See `learning_curves`. An axis in per cent spans ten points at least.

    Args:
        from_zero: others start at 0, or are logarithmic where one method would press the others flat.
    """
    own = {name: figure for runs in methods.values() for run in runs for name, figure in run.figures.items()}
    taken: Callable[[Sequence[Run], str], tuple[NDArray[Any], Array]] = timed_series if timed else series
    series_of = {name: taken(runs, metric) for name, runs in methods.items()}
    figure = described(metric, own).of_values(v for _, values in series_of.values() for v in values.ravel().tolist())
    unit = figure.shown
    share, generic = figure.unit == "fraction", metric.startswith("generic")
    shown = {name: methods[name] for name, (rounds, _) in series_of.items() if len(rounds)}
    seeds = told_seeds(shown, "band") if shown else ""
    lines = tuple(
        mean_line(
            name, *_scaled(series_of[name], unit.scale), looks(methods)[name],
            (marked(name, mine) if generic else name) + ("" if seeds else f" (n = {len(mine)})"),
            within=(0.0, 100.0) if share else None,
        )
        for name, mine in shown.items()
    )  # fmt: skip

    low, high = limits(lines, LEAST, -2.0, 102.0) if share else (0.0 if from_zero else None, None)
    word = figure.axis or figure.last_part
    log = from_zero and _far_apart(lines)
    if log:
        low = 0.5 * min(float(line.y.min()) for line in lines)
        lines = tuple(replace(line, within=(low, np.inf)) for line in lines)
    return Chart(
        name=f"{'time' if timed else 'curve'}-{metric.replace('/', '-')}",
        title=figure.title,
        x=Axis("simulated time", "s", low=0.0) if timed else Axis("round", whole=True),
        y=Axis(word, unit.word, f"{word} (log scale)" if log else "", low, high,
               unit.digits, log),
        marks=lines,
        note=" ".join(filter(None, [seeds, note_on_chance(shown) if generic else ""])),
        ruled=True,
    )  # fmt: skip


def _scaled(found: tuple[NDArray[Any], Array], scale: float) -> tuple[NDArray[Any], Array]:
    rounds, values = found
    return rounds, scale * values


def _far_apart(lines: Sequence[Line]) -> bool:
    """Whether on an axis from 0 most lines would end in its lowest twentieth."""
    if not lines or min(float(line.y.min()) for line in lines) <= 0:
        return False
    return max(float(line.y.max()) for line in lines) > FAR * float(np.median([line.y[-1] for line in lines]))


def norms_chart(runs: Sequence[Run], column: str = "head_norm", title: str = "") -> Chart:
    """See `class_norms`."""
    tables = [_norms(run, column) for run in runs]
    lines = []
    for group, look in looks(NAMES).items():
        columns = [table[group] for table in tables if group in table]
        if len(columns) == len(tables):
            rounds = sorted(set.intersection(*(set(found.index) for found in columns)))
            values = np.array([found.loc[rounds] for found in columns])
            lines.append(mean_line(NAMES[group], np.array(rounds), values, look))
    return Chart(
        name="norms",
        title=title,
        x=Axis("round", whole=True),
        y=Axis("norm of the head's rows" if column == "head_norm" else "norm of the class means",
               low=0.0 if lines else None, digits=3),
        marks=tuple(lines),
        ruled=True,
        note=told_seeds({title: runs}, "band"),
        empty="no linear head" if any(len(run.classes) for run in runs) else "no generic model",
    )  # fmt: skip


def _norms(run: Run, column: str) -> pd.DataFrame:
    """Means over the classes of each group: a row a round, a column a group."""
    table = run.classes
    table = table[table.model == "generic"].dropna(subset=[column])
    return table.pivot_table(index="round", columns="group_count", values=column, aggfunc="mean")
