"""Maps of clients by classes: who holds what, and who is good at what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fedlt.plots.chart import Axis, Chart, Shades
from fedlt.plots.measured import client_recalls
from fedlt.plots.on_axes import draw_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from fedlt.results.runs import Run


def partition_map(ax: Axes, counts: ArrayLike, names: Sequence[str] = (), largest: int | None = None) -> AxesImage:
    """Samples of each client by class, on a logarithmic scale; white: none. Returns the image.

    Args:
        counts: [K, C].
        largest: the darkest count, where several axes share a scale.
    """
    return draw_map(ax, partition_chart(counts, names, largest))


def accuracy_map(ax: Axes, run: Run, model: str = "personal", names: Sequence[str] = ()) -> AxesImage:
    """Accuracy of each client's model on each class of its own test set, in per cent; white: no test sample."""
    return draw_map(ax, accuracy_chart(run, model, names))


def partition_chart(
    counts: ArrayLike,
    names: Sequence[str] = (),
    largest: int | None = None,
    rows: Sequence[int] | None = None,
    note: str = "",
) -> Chart:
    """See `partition_map`.

    Args:
        rows: the clients that are shown, in this order, by their numbers; all unless given.
        note: what is said of the choice.
    """
    held = np.asarray(counts)
    most = largest or int(held.max(initial=0))
    shown = np.arange(len(held)) if rows is None else np.asarray(rows)
    values = np.where(held > 0, held, math.nan)[shown]
    return _map("partition", "Who holds what", Shades(values, "training samples", 1, max(2, most), log=True),
                "class (white: none)", names, () if rows is None else tuple(map(str, shown)), note)  # fmt: skip


def accuracy_chart(run: Run, model: str = "personal", names: Sequence[str] = (), title: str = "") -> Chart:
    """See `accuracy_map`."""
    values = 100 * client_recalls(run, model)
    return _map("accuracies", title, Shades(values, "accuracy of the personal model, %", 0, 100),
                "class (white: not tested)", names)  # fmt: skip


def _map(
    name: str,
    title: str,
    shades: Shades,
    classes: str,
    names: Sequence[str],
    clients: tuple[str, ...] = (),
    note: str = "",
) -> Chart:
    return Chart(
        name=name,
        title=title,
        x=Axis("class", title=classes, whole=not names, names=tuple(names)),
        y=Axis("client", whole=True, names=clients),
        # One map of shades, with a class a column and a client a row.
        marks=(shades,),
        note=note,
    )
