"""Sums of floating-point numbers with equal bits wherever they are taken, and metrics that are made of such sums.

The order of a sum of floats matters: every process sums the same batches, and whoever has all of them adds them up in
the order of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fedlt.measures.figure import Figure
from fedlt.statistic import Arrays, Known, Metric, Predicted, Statistic

Sums = dict[str, NDArray[np.float64]]

_CLIENT, _FIRST = "client", "first"


class Pieces(dict[tuple[int, int], Sums]):
    """Sums of single batches, by client (`NOBODY`: none) and first row; those of all batches have the same shapes."""

    def to_arrays(self) -> Arrays:
        """One array for each name, however many batches there are, and the clients and first rows."""
        order = sorted(self)
        keys = np.array(order, np.int64).reshape(-1, 2)
        names = self[order[0]] if order else {}
        stacked = {f"sum/{name}": np.stack([self[key][name] for key in order]) for name in names}
        return {_CLIENT: keys[:, 0], _FIRST: keys[:, 1], **stacked}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Pieces:
        """Inverse of `to_arrays`."""
        keys = zip(arrays[_CLIENT].tolist(), arrays[_FIRST].tolist(), strict=True)
        named = {name.removeprefix("sum/"): value for name, value in arrays.items() if name.startswith("sum/")}
        return cls({key: {name: value[place] for name, value in named.items()} for place, key in enumerate(keys)})

    def totals(self) -> Iterator[tuple[int, Sums]]:
        """Each client and its sums, clients ascending, batches added up in the order of their rows."""
        found: dict[int, Sums] = {}
        for (client, _), sums in sorted(self.items(), key=lambda item: item[0]):
            held = found.get(client)
            found[client] = sums if held is None else {name: held[name] + value for name, value in sums.items()}
        yield from found.items()


class SummedMetric(Statistic):
    """The statistic of a `Metric`."""

    pieces: Pieces

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.title = type(metric).__name__  # type: ignore[misc]  # of the user's class, not of this one

    def start(self) -> None:
        self.pieces = Pieces()

    def add(self, batch: Predicted) -> None:
        sums = self.metric.sums(batch.logits, batch.targets, self.task)
        self.pieces[batch.client, int(batch.rows[0])] = as_sums(sums)

    def merge(self, other: Self) -> None:
        self.pieces.update(other.pieces)

    def to_arrays(self) -> Arrays:
        return self.pieces.to_arrays()

    def from_arrays(self, arrays: Arrays) -> None:
        self.pieces = Pieces.from_arrays(arrays)

    def forget(self, clients: Collection[int]) -> None:
        self.pieces = Pieces({key: sums for key, sums in self.pieces.items() if key[0] not in clients})

    def figures(self, known: Known) -> dict[str, float]:
        """Of the generic model's sums; of personal models the means over the clients for whom a figure is defined."""
        return mean_defined([self.metric.figures(sums) for _, sums in self.pieces.totals()])

    def describe(self) -> Sequence[Figure]:
        return self.metric.describe()


def as_sums(sums: Mapping[str, Any]) -> Sums:
    """The sums of one batch as float64."""
    return {name: torch.as_tensor(value).detach().cpu().double().numpy() for name, value in sums.items()}


def mean_defined(each: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every figure over those that define it, NaN where none does; of nothing, nothing."""
    found = {}
    for name in each[0] if each else ():
        defined = [figures[name] for figures in each if not math.isnan(figures[name])]
        found[name] = sum(defined) / len(defined) if defined else math.nan
    return found
