"""Heat maps of clients by classes: who holds what, and who is good at what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fedlt.plots.measured import client_recalls
from fedlt.plots.style import shades, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from fedlt.results.runs import Run

FEW_CLASSES = 20
"""Up to here, classes are drawn and named one by one."""


def partition_map(ax: Axes, counts: ArrayLike, names: Sequence[str] = (), largest: int | None = None) -> AxesImage:
    """Samples of each client by class, on a logarithmic scale; white: none. Returns the image.

    counts: [K, C]. largest: the darkest count, where several axes share a scale.
    """
    from matplotlib.colors import LogNorm

    held = np.asarray(counts)
    most = largest or int(held.max(initial=0))
    image = _map(ax, np.ma.masked_equal(held, 0), names, norm=LogNorm(1, max(2, most)))
    ax.set_xlabel("class (white: none)")
    return image


def accuracy_map(ax: Axes, run: Run, model: str = "personal", names: Sequence[str] = ()) -> AxesImage:
    """Accuracy of each client's model on each class of its own test set, in per cent; white: no test sample."""
    image = _map(ax, np.ma.masked_invalid(100 * client_recalls(run, model)), names, vmin=0, vmax=100)
    ax.set_xlabel("class (white: not tested)")
    return image


def name_classes(ax: Axes, names: Sequence[str]) -> None:
    """Names at 0, 1, ... on the horizontal axis, as long as they can be read; slanted where they are long."""
    if len(names) > FEW_CLASSES:
        ax.set_xticks([])
    elif max(map(len, names)) > 3:
        ax.set_xticks(np.arange(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticks(np.arange(len(names)), names)


def _map(ax: Axes, values: Any, names: Sequence[str], **scale: Any) -> AxesImage:
    image = ax.imshow(values, aspect="auto", cmap=shades(), interpolation="none", **scale)
    ax.set_ylabel("client")
    whole_numbers(ax.yaxis)
    if names:
        name_classes(ax, names)
    else:
        whole_numbers(ax.xaxis)
    for side in ("top", "right"):
        ax.spines[side].set_visible(True)
    return image
