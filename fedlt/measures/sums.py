"""What metrics of a user's own (`fedlt.metric`) have summed, by piece of a test set and put together.

Sums are floating-point numbers, so that their order matters: every process computes the same pieces, and whoever has
all of them adds them up in the order of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fedlt.metric import Metric

Key = tuple[int, str, int, int]
"""Place of the metric in its list, `model:variant`, client (-1: none), first row of the piece."""

Arrays = dict[str, NDArray[np.float64]]


def added(pieces: Iterable[tuple[Key, Arrays]]) -> dict[tuple[int, str, int], Arrays]:
    """Sums over all pieces of each (place, model, client), added up in the order of the rows."""
    found: dict[tuple[int, str, int], Arrays] = {}
    for (place, model, client, _), sums in sorted(pieces, key=lambda piece: piece[0]):
        key = place, model, client
        held = found.get(key)
        found[key] = sums if held is None else {name: held[name] + value for name, value in sums.items()}
    return found


def own_figures(metric: Metric, by_client: Mapping[int, Arrays]) -> dict[str, float]:
    """Figures of one model: of its sums, or the mean over the clients for whom a figure is defined."""
    each = [metric.figures(sums) for _, sums in sorted(by_client.items())]
    found = {}
    for name in each[0]:
        defined = [figures[name] for figures in each if not math.isnan(figures[name])]
        found[name] = sum(defined) / len(defined) if defined else math.nan
    return found
