"""What lies behind the accuracies: norms of the head's rows over the rounds, and how far confidence can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedlt.measures.metrics import GROUPS
from fedlt.plots.curves import draw_band
from fedlt.plots.measured import Array, by_name, last
from fedlt.plots.style import looks, whole_numbers

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from fedlt.results.runs import Run

Runs = Sequence["Run"] | Mapping[str, Sequence["Run"]]
NAMES = dict(zip(GROUPS, ("head classes", "medium classes", "tail classes"), strict=True))


def class_norms(ax: Axes, runs: Sequence[Run], column: str = "head_norm") -> None:
    """Mean norm of the generic head's rows over head, medium and tail classes, round by round, of one method.

    Mean over the seeds with a band of one sample standard deviation. column: `head_norm`, or `feature_norm`, the
    distance of the class means from their mean.
    """
    tables = [_norms(run, column) for run in runs]
    for group, look in looks(NAMES).items():
        held = [table[group] for table in tables if group in table]
        if len(held) == len(tables):
            rounds = sorted(set.intersection(*(set(column.index) for column in held)))
            draw_band(ax, np.array(rounds), np.array([column.loc[rounds] for column in held]), NAMES[group], look)
    if ax.lines:
        ax.set_ylim(bottom=0)
    else:
        text = "no linear head" if any(len(run.classes) for run in runs) else "no generic model"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="0.4")
    ax.set(xlabel="round", ylabel="norm of the head's rows" if column == "head_norm" else "norm of the class means")
    whole_numbers(ax.xaxis)
    ax.grid(axis="y", color="0.9", linewidth=0.5)


def calibration_curve(ax: Axes, runs: Runs, model: str = "generic", by: str | None = None) -> None:
    """Accuracy against confidence at the last evaluation, by bins: on the diagonal a model can be trusted.

    Samples are pooled over the seeds, and over the clients of personal models; a dot holds a hundredth of them at
    least. The legend gives the expected calibration error, mean over the seeds, in points.
    """
    methods = by_name(runs, by)
    ax.plot([0, 100], [0, 100], color="0.4", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    for name, look in looks(methods).items():
        tables = [last(run.calibration[run.calibration.model == model]) for run in methods[name]]
        samples, confidence, accuracy = _pooled(tables)
        if not samples.sum():
            continue
        shown = samples >= 0.01 * samples.sum()
        error = np.mean([run.final[f"{model}/ece"] for run in methods[name]])
        label = f"{name}: error {100 * error:.1f}"
        ax.plot(100 * confidence[shown], 100 * accuracy[shown], label=label, **look.line)
    if len(ax.lines) == 1:
        ax.text(0.5, 0.5, "no such model", transform=ax.transAxes, ha="center", va="center", color="0.4")
    ax.set(xlim=(-3, 103), ylim=(-3, 103), aspect="equal", xlabel="confidence, %", ylabel="accuracy, %")
    ax.set_title({"generic": "generic model", "personal": "personal models"}.get(model, model))


def _norms(run: Run, column: str) -> pd.DataFrame:
    """Means over the classes of each group: a row a round, a column a group."""
    table = run.classes
    table = table[table.model == "generic"].dropna(subset=[column])
    return table.pivot_table(index="round", columns="group_count", values=column, aggfunc="mean")


def _pooled(tables: Sequence[pd.DataFrame]) -> tuple[Array, Array, Array]:
    """Samples, mean confidence and accuracy of each bin over all tables; 0 where a bin is empty."""
    bins = max((int(table["bin"].max()) + 1 for table in tables if len(table)), default=0)
    sums = np.zeros((3, bins))
    for table in tables:
        count = table["samples"].to_numpy(dtype=np.float64)
        for row, column in enumerate((None, "confidence", "accuracy")):
            value = 1.0 if column is None else np.nan_to_num(table[column].to_numpy(dtype=np.float64))
            np.add.at(sums[row], table["bin"].to_numpy(), count * value)
    whole = np.maximum(sums[0], 1.0)
    return sums[0], sums[1] / whole, sums[2] / whole
