"""Views of items that see different categories of theirs, and how much two categories tell of each other.

Yao and others: Self-supervised Learning for Large-scale Item Recommendations. CIKM 2021.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from fedlt.data.inputs.histories import HistoryKind


@lru_cache(maxsize=8)
def mutual_information(kind: HistoryKind) -> NDArray[np.float64]:
    """[F, F] of the categories of the catalogue's items, in nats; 0 on the diagonal.

    An item that has several values of a category has one of them, drawn alike; one without any has a value of its own.
    """
    fields = len(kind.fields)
    columns = [kind.codes[:, start:stop] for start, stop in zip(kind.starts, kind.starts[1:], strict=False)]
    found = np.zeros((fields, fields))
    for one in range(fields):
        for other in range(one + 1, fields):
            found[one, other] = found[other, one] = _information(columns[one], columns[other])
    return found


def _information(one: NDArray[np.int32], other: NDArray[np.int32]) -> float:
    """Of two categories whose values are [V, A] and [V, B], -1 where an item has no further one."""
    first, second = _chances(one), _chances(other)
    joint = (first[:, :, None] * second[:, None, :]).ravel() / len(one)
    pairs = (one.astype(np.int64)[:, :, None] + 1) * (int(other.max()) + 2) + other[:, None, :] + 1
    _, which = np.unique(pairs.ravel(), return_inverse=True)
    both = np.bincount(which, joint)

    # What a pair's chance would be if the one category told nothing of the other.
    alone = [np.bincount((values + 1).ravel(), chance.ravel()) / len(one) for values, chance in
             ((one, first), (other, second))]  # fmt: skip
    apart = np.zeros(len(both))
    apart[which] = (alone[0][one + 1][:, :, None] * alone[1][other + 1][:, None, :]).ravel()
    there = both > 0
    return float((both[there] * np.log(both[there] / apart[there])).sum())


def _chances(values: NDArray[np.int32]) -> NDArray[np.float64]:
    """[V, A] by which an item has each of its values; of one without any, the first place stands for none."""
    there = (values >= 0).astype(float)
    there[:, 0] += ~(values >= 0).any(axis=1)
    return there / there.sum(axis=1, keepdims=True)


def masked_fields(fields: int, rng: np.random.Generator, related: NDArray[np.float64] | None = None) -> Tensor:
    """bool [F], half of the categories, rounded up; the other view masks the others.

    Args:
        fields: F.
        related: [F, F] how much categories tell of each other: one is drawn, and those that it tells most of join it;
            None: all are drawn.
    """
    half = -(-fields // 2)
    if related is None:
        chosen = rng.permutation(fields)[:half]
    else:
        seed = int(rng.integers(fields))
        others = [field for field in np.argsort(-related[seed], kind="stable").tolist() if field != seed]
        chosen = np.array([seed, *others[: half - 1]])
    masked = torch.zeros(fields, dtype=torch.bool)
    masked[torch.from_numpy(chosen)] = True
    return masked
