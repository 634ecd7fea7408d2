"""Curves over rounds: a line for each method, a band for its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.plots.measured import by_name, series
from fedlt.plots.style import Look, looks, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fedlt.results.runs import Run

LEAST = 10.0
"""Points that an axis of accuracies spans at least."""
Runs = Sequence["Run"] | Mapping[str, Sequence["Run"]]

TITLES = {
    "generic/accuracy": "generic model", "generic/balanced_accuracy": "generic model, mean of class recalls",
    "generic/many": "generic model, head classes",
    "generic/medium": "generic model, medium classes", "generic/few": "generic model, tail classes",
    "personal/accuracy": "personal models", "personal_masked/accuracy": "personal models, masked",
    "personal/worst_decile": "personal models, worst tenth of the clients",
    "generic/nc1": "NC1: spread within the classes", "generic/nc2_norms": "NC2: uneven norms of the class means",
    "generic/nc2_angles": "NC2: uneven angles of the class means", "generic/nc3": "NC3: head against class means",
}  # fmt: skip


def learning_curves(
    ax: Axes, runs: Runs, metric: str = "generic/accuracy", by: str | None = None, percent: bool = True
) -> None:
    """Mean of a metric over the seeds of each method, with a band of one sample standard deviation.

    Only rounds at which all seeds of a method have the metric are drawn. percent: the metric is a fraction.
    """
    methods = by_name(runs, by)
    scale = 100.0 if percent else 1.0
    for name, look in looks(methods).items():
        rounds, values = series(methods[name], metric)
        if not len(rounds):
            continue
        draw_band(ax, rounds, scale * values, f"{name} (n = {len(values)})", look)

    ax.set(
        xlabel="round", ylabel="accuracy, %" if percent else metric.partition("/")[2], title=TITLES.get(metric, metric)
    )
    whole_numbers(ax.xaxis)
    ax.grid(axis="y", color="0.9", linewidth=0.5)

    if not ax.lines:
        ax.text(0.5, 0.5, "no such model", transform=ax.transAxes, ha="center", va="center", color="0.4")
    elif percent:
        _limit(ax)


def draw_band(ax: Axes, x: NDArray[Any], values: NDArray[np.float64], label: str, look: Look) -> None:
    """The mean of values [n, T] over the first axis as a line, with a band of one sample standard deviation."""
    mean = values.mean(axis=0)
    ax.plot(x, mean, label=label, markevery=max(1, len(x) // 10), **look.line)
    if len(values) > 1:
        std = values.std(axis=0, ddof=1)
        ax.fill_between(x, mean - std, mean + std, color=look.colour, alpha=0.15, linewidth=0)


def _limit(ax: Axes) -> None:
    """Within 0 to 100 and a little, and no less than ten points: differences of a hair should look it."""
    low, high = ax.get_ylim()
    spare = max(0.0, LEAST - (high - low)) / 2
    ax.set_ylim(max(low - spare, -2.0), min(high + spare, 102.0))
