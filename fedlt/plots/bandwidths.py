"""A kernel's bandwidth beside those that each class would need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedlt.data.groups import SHOTS
from fedlt.plots.chart import Array, Axis, Behind, Chart, Line
from fedlt.plots.on_axes import FEW_NAMES
from fedlt.plots.style import looks

SAID = "Below h_G a density rests on a few samples; above h_CLT it is a mean of many. In standard deviations."


def bandwidth_chart(
    names: Sequence[str], counts: NDArray[np.int64], groups: Sequence[str], bounds: Array, bandwidth: float
) -> Chart:
    """The bounds of each class, from the largest class to the smallest, with its training samples behind.

    Args:
        names: [C] of the classes.
        counts: int64 [C] their training samples.
        groups: [C] as `SHOTS` has them.
        bounds: [C, 2] h_G and h_CLT; NaN: none.
        bandwidth: the common one, a line across.
    """
    order = np.argsort(-counts, kind="stable")
    places, few = np.arange(len(order)), len(order) <= FEW_NAMES
    values = {"h_CLT": bounds[order, 1], "h_G": bounds[order, 0], "bandwidth": np.full(len(order), bandwidth)}
    lines = [
        Line(name, places, found, look, marked=few and name != "bandwidth")
        for (name, found), look in zip(values.items(), looks(values).values(), strict=True)
    ]

    shown = np.array([SHOTS.index(group) for group in groups])[order]
    middles = [(float(places[shown == group].mean()), text) for group, text in enumerate(SHOTS) if group in shown]
    log = bool(counts.max() >= 10 * max(1, counts.min()))
    return Chart(
        name="bandwidths",
        title="",
        x=Axis("class", title="class, by training samples", low=-0.6, high=len(order) - 0.4,
               names=tuple(names[place] for place in order)),
        y=Axis("bandwidth", low=0.0, digits=2),
        marks=tuple(lines),
        note=SAID,
        behind=Behind(counts[order], Axis("training samples", low=None if log else 0.0, log=log, digits=0)),
        dividers=tuple((np.flatnonzero(np.diff(shown)) + 0.5).tolist()),
        groups=tuple(middles),
    )  # fmt: skip
