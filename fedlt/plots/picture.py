"""A figure that a notebook shows by itself."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

from fedlt.plots.style import style


class Picture(Figure):
    """A figure of matplotlib's. Where pyplot was never imported, a notebook would show it as a line of text."""

    def _repr_png_(self) -> bytes:
        image = BytesIO()
        with style():
            self.savefig(image, format="png", dpi=100)
        return image.getvalue()
