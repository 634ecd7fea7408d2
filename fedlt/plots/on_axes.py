"""Draws a described chart on an `Axes` of matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fedlt.plots.chart import Axis, Chart, Dots, Line, Shades
from fedlt.plots.style import GREY, LABEL_SIZE, NOTE_SIZE, plain_numbers, shades, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

FEW_NAMES = 20
"""Up to here, places are drawn and named one by one."""
LARGEST = 90.0
"""Area of the largest dot, in square points."""


def draw_on(ax: Axes, chart: Chart) -> None:
    """Draw the chart."""
    if chart.behind is not None:
        _bars_behind(ax, chart)
    if chart.diagonal:
        ax.plot([0, 100], [0, 100], color="0.4", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)

    for mark in chart.marks:
        if isinstance(mark, Line):
            _line(ax, mark)
        elif isinstance(mark, Dots):
            _dots(ax, mark)
        else:
            _map(ax, mark)

    if chart.level is not None:
        ax.axhline(chart.level, color="0.4", linewidth=0.8, zorder=1)
    for place in chart.dividers:
        ax.axvline(place, color="0.3", linewidth=0.8, linestyle=":")
    for place, text in chart.groups:
        ax.text(place, 1.01, text, transform=ax.get_xaxis_transform(), ha="center", fontsize=NOTE_SIZE, color="0.3")

    _set_axes(ax, chart)
    bare = [mark.empty for mark in chart.marks if isinstance(mark, Dots) and not len(mark.x)]
    empty = chart.empty if not chart.marks else "".join(bare)
    if empty:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # the diagonal does not run through the words
        ax.text(0.5, 0.5, empty, transform=ax.transAxes, ha="center", va="center", color="0.4", fontsize=LABEL_SIZE,
                bbox=box)  # fmt: skip


def draw_map(ax: Axes, chart: Chart) -> AxesImage:
    """Draw a chart that is a map, and return its image, for the bar of shades."""
    draw_on(ax, chart)
    (image,) = ax.images
    return image


def _line(ax: Axes, line: Line) -> None:
    """With its spread as a band, or as bars."""
    x = line.x + line.offset
    below, above = line.band
    if line.bars:
        ax.errorbar(x, line.y, [line.y - below, above - line.y], label=line.label or line.name, elinewidth=0.8,
                    capsize=1.5, **line.look.line)  # fmt: skip
        return

    look = line.look.line if line.marked else {**line.look.line, "marker": ""}
    ax.plot(x, line.y, label=line.label or line.name, markevery=max(1, len(x) // 10), **look)
    if line.spread is not None:
        ax.fill_between(x, below, above, color=line.look.colour, alpha=0.15, linewidth=0)


def _dots(ax: Axes, dots: Dots) -> None:
    ax.scatter(
        dots.x, dots.y, s=LARGEST / max(dots.largest, 1) * dots.sizes, color=dots.look.colour, alpha=0.55,
        edgecolors="black", linewidths=0.4, zorder=2,
    )  # fmt: skip
    if dots.corner:  # between the title and the frame, where no dot can lie under it
        ax.text(0.0, 1.02, dots.corner, transform=ax.transAxes, fontsize=NOTE_SIZE, color="0.35", linespacing=1.1)


def _map(ax: Axes, found: Shades) -> None:
    from matplotlib.colors import LogNorm

    scale: dict[str, Any] = {"vmin": found.low, "vmax": found.high}
    if found.log:
        scale = {"norm": LogNorm(found.low, found.high)}
    ax.imshow(np.ma.masked_invalid(found.values), aspect="auto", cmap=shades(), interpolation="none", **scale)
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)


def _bars_behind(ax: Axes, chart: Chart) -> None:
    """With an axis of their own on the right."""
    assert chart.behind is not None
    heights, axis = chart.behind.heights, chart.behind.axis
    behind = ax.twinx()
    behind.bar(np.arange(len(heights)), heights, width=1.0 if len(heights) > FEW_NAMES else 0.9, color=GREY, zorder=0)
    if axis.log:
        behind.set_yscale("log")
        plain_numbers(behind.yaxis)
    behind.set_ylabel(f"{axis.text} (bars)", color="0.35")
    behind.tick_params(axis="y", colors="0.35")
    behind.spines["right"].set_visible(True)
    ax.set_zorder(behind.get_zorder() + 1)  # lines in front of the bars
    ax.patch.set_visible(False)


def _set_axes(ax: Axes, chart: Chart) -> None:
    ax.set(xlabel=chart.x.text, ylabel=chart.y.text)
    corners = [mark.corner for mark in chart.marks if isinstance(mark, Dots) and mark.corner]
    lines = max((corner.count("\n") + 1 for corner in corners), default=0)
    ax.set_title(chart.title, pad=5 + 9 * lines if lines else 12 if chart.groups else None)
    if chart.diagonal:
        ax.set_aspect("equal")
        _equal_ticks(ax, chart)
    if chart.ruled:
        ax.grid(axis="y", color="0.9", linewidth=0.5)

    ax.set_xlim(chart.x.low, chart.x.high)
    ax.set_ylim(chart.y.low, chart.y.high)
    for axis, drawn in ((chart.x, ax.xaxis), (chart.y, ax.yaxis)):
        if axis.log:
            drawn.axes.set(**{f"{drawn.axis_name}scale": "log"})  # type: ignore[attr-defined]
            plain_numbers(drawn)
        if axis.whole:
            whole_numbers(drawn)
    if chart.x.names:
        _name_places(ax, chart.x)


def _equal_ticks(ax: Axes, chart: Chart) -> None:
    """Both axes of a diagonal are read alike."""
    from matplotlib.ticker import MultipleLocator

    span = 100 - (chart.x.low or 0.0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MultipleLocator(25 if span > 75 else 20 if span > 45 else 10 if span > 20 else 5))


def _name_places(ax: Axes, axis: Axis) -> None:
    """Names at 0, 1, ..., as long as they can be read; slanted where they are long."""
    places = np.arange(len(axis.names))
    if len(places) > FEW_NAMES:
        ax.set_xticks([])
    elif max(map(len, axis.names)) > 3:
        ax.set_xticks(places, axis.names, rotation=45, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticks(places, axis.names)
