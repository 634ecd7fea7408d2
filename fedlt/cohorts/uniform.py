"""Cohorts drawn uniformly, without replacement: McMahan et al., Communication-Efficient Learning of Deep Networks from
Decentralized Data. AISTATS 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedlt.cohorts.selection import Pool, Selection


@dataclass(frozen=True)
class Uniform(Selection):
    """Every cohort is as likely as any other."""

    def choose(self, pool: Pool) -> Sequence[int]:
        chosen: list[int] = pool.rng.choice(pool.clients, pool.size, replace=False).tolist()
        return chosen
