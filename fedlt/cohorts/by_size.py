"""Cohorts drawn by the clients' numbers of samples, tempered: client k in proportion to n_k^(1 / temperature).

McMahan et al. draw clients uniformly and weigh them by their samples; Li et al., Federated Optimization in
Heterogeneous Networks (MLSys 2020), draw them by their samples and weigh them alike. The temperature is that of Li and
others, Upsample or Upweight? (NAACL 2025), with clients in place of domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fedlt.cohorts.selection import Pool, Selection, nothing_to_choose


@dataclass(frozen=True)
class BySize(Selection):
    """Without replacement; clients with many samples come more often."""

    temperature: Annotated[float, "> 0"] = 1.0  # 1: by samples; the larger, the more alike; below 1 the largest rule

    def obstacle(self, clients: int, size: int) -> str | None:
        return nothing_to_choose(clients, size)

    def choose(self, pool: Pool) -> Sequence[int]:
        """Draw clients with chances that follow their numbers of samples."""
        # A client without a sample has a chance as well: without replacement there must be as many as places.
        logs = np.log(np.maximum(pool.sizes, 1)) / self.temperature
        chances = np.exp(logs - logs.max())
        chosen: list[int] = pool.rng.choice(pool.clients, pool.size, replace=False, p=chances / chances.sum()).tolist()
        return chosen
