"""Power-of-choice (pow-d).

Cho, Wang, Joshi: Towards Understanding Biased Client Selection in Federated Learning. AISTATS 2022.

In each round d candidates are drawn, a client's chance growing with its number of samples. They receive the model and
tell its mean loss on their own samples; the m with the largest loss train. A larger d speeds up the first rounds and
lets the average client wait: the choice is biased, and d says how much.

Differences from the paper: it averages the cohort with equal weights; here the strategy weighs it, usually by numbers
of samples. Its cheaper kinds, with the loss of one batch (cpow-d) or of a client's last round (rpow-d), are not built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from fedlt.cohorts.selection import Pool, Selection, candidates_of, nothing_to_choose, too_few_or_many


@dataclass(frozen=True)
class PowerOfChoice(Selection):
    """Of candidates drawn by size, those with the largest loss of the present generic model."""

    needs: ClassVar[tuple[str, ...]] = ("local_loss",)

    candidates: Annotated[int, ">= 2"] | None = None  # d, more than a cohort has; null: twice as many

    def obstacle(self, clients: int, size: int) -> str | None:
        return nothing_to_choose(clients, size) or too_few_or_many(self.candidates, clients, size)

    def ask(self, pool: Pool) -> Sequence[int]:
        """Draw candidates by their numbers of samples; they will tell their losses."""
        # Without replacement it takes as many chances above 0 as candidates, so a client without a sample has one, too.
        chances = np.maximum(pool.sizes, 1) / np.maximum(pool.sizes, 1).sum()
        drawn = candidates_of(self.candidates, pool.clients, pool.size)
        found: list[int] = pool.rng.choice(pool.clients, drawn, replace=False, p=chances).tolist()
        return found

    def choose(self, pool: Pool) -> Sequence[int]:
        by_loss = sorted(pool.losses, key=lambda client: (-pool.losses[client], client))
        return by_loss[: pool.size]
