"""Pictures of what was fitted after the training: sets of classes, calibrated probabilities, declined answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedlt.data.groups import SHOTS
from fedlt.plots.chart import Axis, Chart, Line
from fedlt.plots.layout import PAGE, Panels
from fedlt.plots.on_axes import draw_on
from fedlt.plots.style import looks, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

GROUPS = ("all", *SHOTS)
SPREAD = 2.0
"""Standard errors that bars show."""


def coverage_figure(table: pd.DataFrame) -> Figure:
    """Coverage and size of conformal sets over all rows and those of head, medium and tail classes; a line a kind.

    Args:
        table: as `fedlt.analyses.conformal.conformal_table` gives it. Rows of single clients are passed over.
    """
    shown = table[table["of"].isin(GROUPS)]
    names = [name for name in GROUPS if (shown["of"] == name).any()]
    asked, kinds = 100 * float(shown["asked"].iloc[0]), list(shown["sets"].unique())
    wide = 0.09

    # A line for each kind of set, side by side at each group.
    lines: dict[str, list[Line]] = {"coverage": [], "size": []}
    for number, (kind, look) in enumerate(looks(kinds).items()):
        mine = shown[shown["sets"] == kind].set_index("of").loc[names]
        beside = wide * (number - (len(kinds) - 1) / 2)
        x = np.arange(len(names), dtype=float)
        errors = SPREAD * 100 * mine["error"].to_numpy()
        for column, scale, spread in (("coverage", 100, errors), ("size", 1, None)):
            y = scale * mine[column].to_numpy(dtype=float)
            lines[column].append(
                Line(kind, x, y, look, spread=spread, within=(0, 100), bars=spread is not None, offset=beside)
            )

    largest = max(float(line.y.max()) for line in lines["size"])
    x_axis = Axis("rows", title="test rows", low=-0.4, high=len(names) - 0.6, names=tuple(names))
    charts = [
        Chart("coverage", "the true class is in the set", x_axis, Axis("coverage", "%"), tuple(lines["coverage"]),
              level=asked, ruled=True),
        Chart("size", "classes in a set", x_axis, Axis("mean number of classes", low=0.0, high=1.1 * largest),
              tuple(lines["size"]), ruled=True),
    ]  # fmt: skip
    score = str(shown["score"].iloc[0])
    bars = "Bars: two standard errors, from the numbers of validation and test rows."
    note = f"Asked: {asked:g} % (line). Score: {score}. {bars}"
    return _panels(charts, columns=2, height=2.6, note=note)


def reliability_figure(curves: pd.DataFrame) -> Figure:
    """Accuracy against confidence, before and after each calibration, of all rows and of head, medium and tail.

    Args:
        curves: the second table of `fedlt.analyses.calibration.measured`. A dot holds five rows and a hundredth of them
            at least.
    """
    found = looks(curves["method"].unique())
    charts = []
    for of in (name for name in GROUPS if (curves["of"] == name).any()):
        lines = []
        for name, look in found.items():
            mine = curves[(curves["of"] == of) & (curves["method"] == name)]
            mine = mine[mine["samples"] >= max(5, 0.01 * mine["samples"].sum())]
            x, y = (100 * mine[column].to_numpy(dtype=float) for column in ("confidence", "accuracy"))
            lines.append(Line(name, x, y, look))
        charts.append(Chart(f"reliability-{of}", f"{of} rows" if of == "all" else f"rows of {of} classes",
                            Axis("confidence", "%", low=-3.0, high=103.0), Axis("accuracy", "%", low=-3.0, high=103.0),
                            tuple(lines), diagonal=True))  # fmt: skip
    note = "Below the diagonal a model is too sure of itself. Test rows; calibrated on validation rows."
    return _panels(charts, columns=4 if len(charts) == 4 else 3, height=None, note=note)


def abstention_figure(table: pd.DataFrame) -> Figure:
    """Accuracy on answered rows, how many rows of a group are answered, over the share of all rows that is answered.

    Args:
        table: as `fedlt.analyses.abstention.abstention_table` gives it. Rows of single clients are passed over.
    """
    whole = table[table["of"] == "all"]["answered"].to_numpy(dtype=float)
    names = [name for name in GROUPS if (table["of"] == name).any()]
    accuracy, answered = [], []
    for name, look in looks(names).items():
        mine = table[table["of"] == name]
        right, taken = (100 * mine[column].to_numpy(dtype=float) for column in ("accuracy", "answered"))
        accuracy.append(Line(name, 100 * whole, right, look))
        answered.append(Line(name, 100 * whole, taken, look))
    x_axis = Axis("share", title="test rows answered, %", low=-2.0, high=102.0)
    charts = [
        Chart("accuracy", "right, of those answered", x_axis, Axis("accuracy", "%"), tuple(accuracy), ruled=True),
        Chart("answered", "answered, of a group's rows", x_axis, Axis("answered", "%", low=-2.0, high=102.0),
              tuple(answered), ruled=True),
    ]  # fmt: skip
    note = "Answered: the largest probability reaches a threshold, at which a share of the validation rows is answered."
    return _panels(charts, columns=2, height=2.6, note=note)


def _panels(charts: Sequence[Chart], columns: int, height: float | None, note: str) -> Figure:
    """Charts side by side, with one legend and the note below them."""
    with style():
        panels = Panels(len(charts), PAGE, columns, height, share=height is None)
        for ax, chart in zip(panels.axes, charts, strict=True):
            draw_on(ax, chart)
        panels.label_outer()
        handles, labels = panels.axes[0].get_legend_handles_labels()
        panels.legend_below(handles, labels, note)
        if height is None:
            panels.make_square()
        panels.figure.draw_without_rendering()
    return panels.figure
