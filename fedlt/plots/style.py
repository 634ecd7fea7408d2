"""The look of all figures: told apart by colour, by dash and by marker, so that print, grey and colour-blind eyes all
do. Colours: Okabe and Ito, Color universal design, 2008, in an order of alternating lightness; then wine
(Tol, Colour schemes, 2021) and grey.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap

COLOURS = ("#0072B2", "#E69F00", "#000000", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#882255", "#8C8C8C")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "os^DvPX<"
GREY = "0.88"
"""What stands behind the lines."""
TITLE_SIZE, LABEL_SIZE, LEGEND_SIZE, NOTE_SIZE = 8.5, 8.0, 7.5, 7.0
"""Points."""

_SETTINGS = {
    "font.size": 8.0, "axes.titlesize": TITLE_SIZE, "axes.titlelocation": "left", "axes.labelsize": LABEL_SIZE,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "lines.linewidth": 1.4,
    "lines.markersize": 4.0, "legend.frameon": False, "legend.fontsize": LEGEND_SIZE, "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "savefig.dpi": 200,
    "pdf.fonttype": 42, "svg.hashsalt": "fedlt",
}  # fmt: skip
"""Fonts of a printed column; text in PDF stays text; equal data give equal SVG files."""


@dataclass(frozen=True)
class Look:
    """How one method is drawn, everywhere in a figure."""

    colour: str
    dash: Any
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """Keywords of `Axes.plot`."""
        return {"color": self.colour, "linestyle": self.dash, "marker": self.marker, "markeredgecolor": "white",
                "markeredgewidth": 0.5}  # fmt: skip


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, by its place; 9 colours, 5 dashes and 8 markers repeat after 360 names."""
    return {
        name: Look(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(names)
    }


def shades() -> Colormap:
    """Colours of counts and accuracies.

    Their lightness is monotonic, so they read in grey: dark is more, and the least of them is no white, which is kept
    for what there is not.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["cividis_r"](np.linspace(0.15, 1.0, 256)), "fedlt").with_extremes(bad="white")


def plain_number(value: float, _: object) -> str:
    """Ticks of logarithmic axes: 100, not a power of ten."""
    return f"{value:g}"


def plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis of a decade at least: powers of ten, as plain numbers."""
    from matplotlib.ticker import NullFormatter

    axis.set_major_formatter(plain_number)
    axis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Axis) -> None:
    """Ticks at whole numbers only: there is no round or client in between."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True))


def style() -> AbstractContextManager[None]:
    """The project's settings of matplotlib, within a `with` block."""
    import matplotlib

    return matplotlib.rc_context(_SETTINGS)
