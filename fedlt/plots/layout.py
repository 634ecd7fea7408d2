"""Where panels, legends and notes of a whole figure lie, so that no text is cut or lies over another.

matplotlib makes room for the height of a legend or a title and not for its width: here texts are broken into lines that
fit, and a legend has as many columns as fit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fedlt.plots.style import LEGEND_SIZE, NOTE_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE, COLUMN = 7.0, 3.3
"""Inches of a printed page between its margins, and of one of its two columns."""
OUTSIDE = 0.62
"""Inches beside a panel for its axis title and tick labels."""
GAP = 0.12
"""Inches between panels that share an axis."""
LEGEND_LINE = 0.17
"""Inches of a line of a legend."""
HANDLE = 2.8
"""Width of a legend's handle and of what parts it from its text, in font sizes (matplotlib's defaults)."""
BETWEEN = 2.0
"""Width between columns of a legend, in font sizes."""


def inches(text: str, size: float) -> float:
    """Width of a line of text in a font of that many points."""
    return _points(text) * size / 1000 / 72


@lru_cache(4096)
def _points(text: str) -> float:
    """Width in a font of 1,000 points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=1000), False)
    return float(width)


def wrapped(text: str, width: float, size: float) -> str:
    """The text in lines of that many inches, broken after blanks and signs, or anywhere where that is not enough."""
    return "\n".join(line for part in text.split("\n") for line in _lines(part, width, size))


def _lines(text: str, width: float, size: float) -> list[str]:
    lines = [""]
    for piece in re.findall(r"[^\s/_,;:=.-]*[\s/_,;:=.-]*", text):
        if lines[-1] and inches((lines[-1] + piece).rstrip(), size) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1]) > 1 and inches(lines[-1].rstrip(), size) > width:
            fitting = max(1, next(n for n in range(len(lines[-1])) if inches(lines[-1][: n + 1], size) > width))
            lines[-1:] = [lines[-1][:fitting], lines[-1][fitting:]]
    return [line.rstrip() for line in lines]


class Panels:
    """A figure of panels, in reading order.

    Attributes:
        number: of panels.
        width: inches of the figure.
        columns: at most; fewer where a panel would be narrower than `least` inches.
        height: inches of a panel with its titles; None: as high as wide.
        extra: inches below each.
        share: whether all have one scale on both axes, so that only the outer ones are labelled.
    """

    def __init__(
        self,
        number: int,
        width: float,
        columns: int,
        height: float | None,
        share: bool = False,
        least: float = 1.6,
        extra: float = 0.0,
    ) -> None:
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        from fedlt.plots.picture import Picture  # late, as matplotlib itself

        self.columns = max(1, min(columns, number, int(width / least)))
        rows = -(-number // self.columns)
        # On a page, a panel alone gets the width that it would have beside another.
        full = max(self.columns, min(columns, 2, int(width / 3)))
        self.width = width * self.columns / full
        self.inner = (self.width - OUTSIDE) / self.columns - GAP if share else self.width / self.columns - OUTSIDE
        if height is None:  # square panels may be narrower than their places
            self.inner -= 0.15
        self.inner_height = self.inner + 0.35 if height is None else height - 0.8
        high = (self.inner + 0.75 if height is None else height) + extra
        self.figure: Figure = Picture(figsize=(self.width, high * rows + 0.6),
                                      layout=ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.05))  # fmt: skip
        grid = self.figure.subplots(rows, self.columns, squeeze=False, sharex=share, sharey=share)
        self.axes: list[Axes] = list(grid.flat)[:number]
        for empty in list(grid.flat)[number:]:
            empty.remove()
        self.rows, self.shared = rows, share

    def make_square(self) -> None:
        """Change the figure's height so that panels are as high as they are wide.

        To be called last. A fixed aspect would be applied after room was made for titles and legends.
        """
        for ax in self.axes:
            ax.set_aspect("auto")
        self.figure.draw_without_rendering()
        width, height = self.figure.get_size_inches()
        box = self.axes[0].get_position()
        self.figure.set_size_inches(width, height + self.rows * (box.width * width - box.height * height))

    def label_outer(self) -> None:
        """Tick labels and titles of shared axes at the outer panels only; also above a place without a panel."""
        if not self.shared:
            return
        for number, ax in enumerate(self.axes):
            if number % self.columns:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
            if number + self.columns < len(self.axes):
                ax.set_xlabel("")
                ax.tick_params(labelbottom=False)
            else:
                ax.tick_params(labelbottom=True)

    def legend_below(self, handles: Sequence[Any], labels: Sequence[str], note: str = "") -> None:
        """One legend of the whole figure, in as many columns as fit, under the note."""
        room = self.width - 0.2
        em = LEGEND_SIZE / 72
        texts = [wrapped(label, room - HANDLE * em, LEGEND_SIZE) for label in labels]
        widest = max((inches(line, LEGEND_SIZE) for text in texts for line in text.split("\n")), default=0.0)
        fitting = max(1, int((room + BETWEEN * em) / (widest + (HANDLE + BETWEEN) * em)))
        rows = -(-max(len(texts), 1) // fitting)
        if not handles and not note:
            return
        self.figure.legend(
            list(handles), texts, loc="outside lower center", ncols=-(-max(len(texts), 1) // rows),
            title=wrapped(note, room, NOTE_SIZE) or None, title_fontproperties={"size": NOTE_SIZE},
            alignment="left", borderpad=0.2,
        )  # fmt: skip

    def legend_under(self, ax: Axes) -> None:
        """A legend of one panel, beneath its title of the x-axis and as wide as what is beside it."""
        from matplotlib.transforms import ScaledTranslation

        handles, labels = ax.get_legend_handles_labels()
        if not handles:
            return
        beneath = ax.transAxes + ScaledTranslation(0.2 - OUTSIDE, -0.45, self.figure.dpi_scale_trans)
        room = self.inner + OUTSIDE - 0.25 - HANDLE * LEGEND_SIZE / 72
        texts = [wrapped(label, room, LEGEND_SIZE) for label in labels]
        ax.legend(handles, texts, loc="upper left", bbox_to_anchor=(0.0, 0.0), bbox_transform=beneath,
                  borderaxespad=0.0, borderpad=0.0)  # fmt: skip
