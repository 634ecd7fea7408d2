"""Class by class along the long tail, and how sure the models are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedlt.data.groups import by_count
from fedlt.plots.maps import FEW_CLASSES, name_classes
from fedlt.plots.measured import by_name, recalls, split_of
from fedlt.plots.style import GREY, looks, plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fedlt.results.runs import Run

Runs = Sequence["Run"] | Mapping[str, Sequence["Run"]]


def class_accuracy(ax: Axes, runs: Runs, model: str = "generic", by: str | None = None) -> None:
    """Accuracy on each class, from the largest class to the smallest, with the training counts behind (right axis).

    Mean over the seeds, with one sample standard deviation: as bars, or as a band where there are many classes. Dotted
    lines separate head, medium and tail classes. model: `generic`, or `personal`, which is pooled over the clients.
    """
    methods = by_name(runs, by)
    first = next(iter(methods.values()))[0]
    split = split_of(first)
    counts = split.train.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    places = np.arange(len(order))

    behind = ax.twinx()
    behind.bar(places, counts[order], width=1.0 if len(order) > FEW_CLASSES else 0.9, color=GREY, zorder=0)
    behind.set_yscale("log")
    behind.yaxis.set_major_formatter(plain_number)
    behind.set_ylabel("training samples (bars)", color="0.35")
    behind.tick_params(axis="y", colors="0.35")
    behind.spines["right"].set_visible(True)
    ax.set_zorder(behind.get_zorder() + 1)  # lines in front of the bars
    ax.patch.set_visible(False)

    for number, (name, look) in enumerate(looks(methods).items()):
        values = 100 * np.array([recalls(run, model)[order] for run in methods[name]])
        if np.isnan(values).all():
            continue
        mean = values.mean(axis=0)
        std = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(mean))
        if len(order) <= FEW_CLASSES:
            beside = places + 0.12 * (number - (len(methods) - 1) / 2) if len(methods) <= 6 else places
            ax.errorbar(beside, mean, std, label=name, elinewidth=1.0, capsize=1.5, **look.line)
        else:
            ax.plot(places, mean, label=name, **{**look.line, "marker": ""})
            ax.fill_between(places, mean - std, mean + std, color=look.colour, alpha=0.15, linewidth=0)
    groups = by_count(counts)[order]
    for place in np.flatnonzero(np.diff(groups)) + 0.5:
        ax.axvline(place, color="0.3", linewidth=0.8, linestyle=":")
    for number, text in enumerate(("head", "medium", "tail")):
        mine = places[groups == number]
        if len(mine):
            ax.text(mine.mean(), 1.01, text, transform=ax.get_xaxis_transform(), ha="center", fontsize=7, color="0.3")
    ax.set(xlim=(-0.6, len(order) - 0.4), ylim=(-3, 103), ylabel="accuracy, %")
    ax.set_title("generic model" if model == "generic" else f"{model} models", pad=12)
    name_classes(ax, [split.names[c] for c in order])
    ax.set_xlabel("class, by training samples")
