"""Client by client: personal models against the generic one, and the gain over a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedlt.plots.measured import by_name, client_points, gains
from fedlt.plots.style import Look, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fedlt.results.runs import Run

Runs = Sequence["Run"] | Mapping[str, Sequence["Run"]]
LARGEST = 90.0
"""Area of the largest dot, in square points."""


def client_scatter(
    ax: Axes,
    runs: Sequence[Run],
    title: str = "",
    masked: bool = False,
    variant: str = "",
    generic_of: Sequence[Run] | None = None,
    look: Look | None = None,
    largest: int | None = None,
    low: float = 0.0,
) -> None:
    """One dot per client (and seed) of one method: its personal model above the diagonal is better than the generic.

    x: the generic model on the client's mix of test classes, in per cent. y: the client's personal model. The area of
    a dot follows the client's training samples. masked: classes that a client never saw cannot be predicted. variant:
    of the personal model, and of the generic one where it has it. generic_of: runs whose generic model stands in where
    there is none. largest, low: samples of the largest dot and the least accuracy in per cent, where several axes
    share their scales.
    """
    points = client_points(runs, variant, masked, generic_of)
    look = look or looks(["one"])["one"]
    shown = ~(np.isnan(points.generic) | np.isnan(points.personal))
    ax.plot([0, 100], [0, 100], color="0.4", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    scale = LARGEST / max(largest or int(points.samples.max(initial=1)), 1)
    ax.scatter(
        100 * points.generic[shown], 100 * points.personal[shown], s=scale * points.samples[shown],
        color=look.colour, alpha=0.55, edgecolors="black", linewidths=0.4, zorder=2,
    )  # fmt: skip

    limits = low - 0.03 * (100 - low), 100 + 0.03 * (100 - low)
    ax.set(xlim=limits, ylim=limits, aspect="equal", xlabel="generic model, %", title=title)
    ax.set_ylabel("personal model, masked, %" if masked else "personal model, %")

    if shown.any():
        above = int((points.personal[shown] > points.generic[shown]).sum())
        ax.text(0.98, 0.03, f"{above} of {shown.sum()} above", transform=ax.transAxes, ha="right", fontsize=7)
    else:
        ax.text(0.5, 0.5, "no generic model\n(a reference can lend its own)", transform=ax.transAxes, ha="center",
                va="center", color="0.4")  # fmt: skip


def client_gains(ax: Axes, runs: Runs, reference: str, by: str | None = None, masked: bool = False) -> None:
    """Gain of each client's personal model over the same client under the reference, sorted, for every other method.

    x: share of the clients (of all seeds) with a smaller gain, in per cent. Where a line crosses zero is the share of
    the clients that lose.
    """
    methods = by_name(runs, by)
    for name, look in looks(methods).items():
        if name == reference:
            continue
        gain = np.sort(gains(methods[name], methods[reference], masked))
        if not len(gain):
            continue
        share = 100 * (np.arange(len(gain)) + 0.5) / len(gain)
        won, lost = 100 * (gain > 0).mean(), 100 * (gain < 0).mean()
        mean = round(100 * gain.mean(), 1) + 0.0  # no negative zero
        label = f"{name}: mean {mean:+.1f}; {won:.0f} % gain, {lost:.0f} % lose"
        ax.plot(share, 100 * gain, label=label, markevery=max(1, len(gain) // 12), **look.line)

    ax.axhline(0, color="0.4", linewidth=0.8, zorder=1)
    ax.set(xlim=(0, 100), xlabel="clients, sorted by gain, %", ylabel=f"gain over {reference}, points")
    ax.set_title("personal models, masked" if masked else "personal models")
    ax.grid(axis="y", color="0.9", linewidth=0.5)
