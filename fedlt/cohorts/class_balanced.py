"""Cohorts whose pooled classes are nearly balanced: the measure of Fed-CBS, searched greedily as in Astraea.

Zhang et al.: Fed-CBS: A Heterogeneity-Aware Client Sampling Mechanism for Federated Learning via Class-Imbalance
Reduction. ICML 2023. Duan et al.: Self-Balancing Federated Learning with Global Imbalanced Data in Mobile Systems. IEEE
TPDS 2021 (Astraea).

In each round candidates are drawn uniformly. The first of them is in the cohort; then the one joins, place by place,
with which the pooled samples are least imbalanced: the smallest quadratic class-imbalance degree of Fed-CBS,

    QCID = sum over classes c of (share of c in the pooled samples - 1 / C)^2.

Differences from Fed-CBS: it draws each next client with a chance that falls with the degree, adds a bonus for clients
that were seldom chosen, and computes the degree on encrypted counts. Here the search is greedy, as in Astraea (which
compares by the Kullback-Leibler divergence, and groups all clients), the random candidates give everybody a turn, and
the server sees the counts of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.cohorts.selection import Pool, Selection, candidates_of, nothing_to_choose, too_few_or_many


@dataclass(frozen=True)
class ClassBalanced(Selection):
    """Of random candidates, those whose samples taken together are nearest to equally many of each class."""

    needs: ClassVar[tuple[str, ...]] = ("class_counts",)

    candidates: Annotated[int, ">= 2"] | None = None  # more than a cohort has; null: twice as many

    def obstacle(self, clients: int, size: int) -> str | None:
        return nothing_to_choose(clients, size) or too_few_or_many(self.candidates, clients, size)

    def choose(self, pool: Pool) -> Sequence[int]:
        """From some candidates, take one after the other whose classes bring the cohort nearest to equal shares."""
        assert pool.class_counts is not None
        drawn = candidates_of(self.candidates, pool.clients, pool.size)
        left: list[int] = pool.rng.choice(pool.clients, drawn, replace=False).tolist()

        chosen = [left.pop(0)]
        pooled = pool.class_counts[chosen[0]]
        while len(chosen) < pool.size:
            place = int(imbalance(pooled + pool.class_counts[left]).argmin())  # of equal ones, the one drawn first
            chosen.append(left.pop(place))
            pooled = pooled + pool.class_counts[chosen[-1]]
        return chosen


def imbalance(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """[n] the quadratic class-imbalance degree of each row of counts [n, C]; that of nothing is the largest, 1."""
    total = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(total, 1)
    degree: NDArray[np.float64] = np.square(shares - 1 / counts.shape[1]).sum(axis=1)
    return np.where(total[:, 0] > 0, degree, 1.0)
