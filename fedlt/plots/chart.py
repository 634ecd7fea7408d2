"""A chart as plain data: what is shown, along which axes, under which title.

Described once, and drawn by matplotlib (`fedlt.plots.on_axes`) and by plotly (`fedlt.report.charts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.plots.style import Look

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        word: what its values are.
        unit: of these, such as `%`; empty: none.
        title: written along it; word and unit unless given.
        low, high: its limits; None: as the values have it.
        digits: after the point, where a value is told.
        log: whether steps multiply.
        whole: whether only whole numbers make sense.
        names: of the places 0, 1, ...
    """

    word: str
    unit: str = ""
    title: str = ""
    low: float | None = None
    high: float | None = None
    digits: int = 1
    log: bool = False
    whole: bool = False
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is written along it."""
        return self.title or (f"{self.word}, {self.unit}" if self.unit else self.word)


@dataclass(frozen=True)
class Line:
    """A line, of one method.

    Attributes:
        name: the method's.
        x, y: [n] its points.
        label: in the legend; the name unless given.
        spread: [n] half the height of its band, such as a standard deviation; None: no band.
        within: what values can be; the band ends there. None: anything.
        bars: whether the spread is drawn as a bar at every point.
        marked: whether points are marked.
        offset: by which it is moved along x, so that several lines' bars stand side by side.
        seeds: over which it is the mean; 0: not told.
        texts: what is told of each point; made from the axes unless given.
    """

    name: str
    x: NDArray[Any]
    y: Array
    look: Look
    label: str = ""
    spread: Array | None = None
    within: tuple[float, float] | None = None
    bars: bool = False
    marked: bool = True
    offset: float = 0.0
    seeds: int = 0
    texts: tuple[str, ...] = ()

    @property
    def band(self) -> tuple[Array, Array]:
        """[n] the lower and the upper edge of its band; the line itself where it has none."""
        if self.spread is None:
            return self.y, self.y
        low, high = self.within or (-np.inf, np.inf)
        return np.maximum(self.y - self.spread, low), np.minimum(self.y + self.spread, high)


@dataclass(frozen=True)
class Dots:
    """Dots, of one method.

    Attributes:
        name: the method's.
        x, y: [n] where they are.
        sizes: [n] what their areas follow.
        largest: the size of the largest dot, of all charts that share their scale.
        label: in the legend, and the title of a panel of their own; the name unless given.
        corner: what is written above such a panel.
        empty: what is written instead where there are none.
        texts: what is told of each dot.
    """

    name: str
    x: Array
    y: Array
    sizes: NDArray[np.int64]
    largest: int
    look: Look
    label: str = ""
    corner: str = ""
    empty: str = ""
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shades:
    """A map, whose shades are values.

    Attributes:
        values: [rows, columns]; NaN: nothing, which stays white.
        word: what the values are, with their unit.
        low, high: the values of the lightest and the darkest shade.
        log: whether steps of shades multiply.
    """

    values: Array
    word: str
    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Behind:
    """Bars behind lines, at the places 0, 1, ..., with an axis of their own on the right.

    Attributes:
        heights: [n].
        groups: [n] in words, to which group of classes each belongs.
    """

    heights: NDArray[np.int64]
    axis: Axis
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        name: by which a page finds it, unique in its section.
        title: above it.
        x, y: its axes.
        marks: what it shows, of one kind.
        note: what its reader must know; beneath a printed figure, above a page's chart.
        behind: bars behind the lines.
        diagonal: whether equal values are a line, and both axes have one scale.
        level: a value of y that is drawn as a line.
        ruled: whether values of y have thin lines.
        dividers: places on x at which groups of neighbours part.
        groups: their middles on x, and their names.
        empty: what is written where there is nothing to show.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    marks: tuple[Line | Dots | Shades, ...]
    note: str = ""
    behind: Behind | None = None
    diagonal: bool = False
    level: float | None = None
    ruled: bool = False
    dividers: tuple[float, ...] = ()
    groups: tuple[tuple[float, str], ...] = ()
    empty: str = "no such model"

    @property
    def lines(self) -> list[Line]:
        """The marks that are lines."""
        return [mark for mark in self.marks if isinstance(mark, Line)]

    def panels(self) -> list[Chart]:
        """A chart for each mark, with its label as title and on equal axes."""
        marks = [mark for mark in self.marks if not isinstance(mark, Shades)]
        return [replace(self, marks=(mark,), title=mark.label or mark.name) for mark in marks]


def mean_line(name: str, x: NDArray[Any], values: Array, look: Look, label: str = "", **options: Any) -> Line:
    """The mean of values [seeds, n] over the seeds, with one sample standard deviation where there are several."""
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
    return Line(name, x, values.mean(axis=0), look, label, spread, seeds=len(values), **options)


def limits(lines: Sequence[Line], least: float, low: float, high: float) -> tuple[float | None, float | None]:
    """Limits of y, in per cent, around the lines and their bands, a twentieth wider, within `low` and `high`.

    Args:
        least: what they span at least, so that differences of a hair look it.
        low: below 0, for markers; less where the axis ends below 100, so that no tick is below 0.
    """
    if not lines:
        return None, None
    below = min(float(np.nanmin(line.band[0])) for line in lines)
    above = max(float(np.nanmax(line.band[1])) for line in lines)
    wider = max(0.05 * (above - below), (least - (above - below)) / 2)
    top = min(above + wider, high)
    return max(below - wider, low * min(1.0, top / 100)), top


def squeezed(spans: Sequence[float]) -> bool:
    """Whether panels that share an axis as long as the longest of these would leave half of them less than half of it.

    Args:
        spans: what each panel needs.
    """
    return len(spans) > 1 and float(np.median(spans)) < 0.5 * max(spans)
