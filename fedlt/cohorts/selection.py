"""The contract of selections: who of all clients trains in a round.

A selection is one frozen dataclass in a file, and its fields are its keys:

    federation.selection=power_of_choice
    federation.selection={name: power_of_choice, candidates: 20}
    federation.selection=./mine.py:Largest

    @dataclass(frozen=True)
    class Largest(Selection):
        def choose(self, pool):
            return pool.sizes.argsort()[-pool.size :]

It keeps nothing: what it chooses is a function of the pool, whose generator is the round's own. So a run has equal bits
on every backend, and after it was killed and resumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.cohorts.clock import Devices


@dataclass(frozen=True, eq=False)
class Pool:
    """What a selection goes by in one round.

    Attributes:
        round: 1-based.
        size: m, clients of a cohort, by `federation.participation`.
        sizes: int64 [K], training samples of each client.
        rng: the generator of this round's cohort.
        class_counts: int64 [K, C], training samples of each client by class, for those that declare the need.
        losses: by client, the generic model's mean loss on its training samples, of those that `ask` has named and that
            answered.
        devices: how quick the clients' are, by `federation.clock`; None without a clock.
    """

    round: int
    size: int
    sizes: NDArray[np.int64]
    rng: np.random.Generator
    class_counts: NDArray[np.int64] | None = None
    losses: dict[int, float] = field(default_factory=dict)
    devices: Devices | None = None

    @property
    def clients(self) -> int:
        """K, the number of clients."""
        return len(self.sizes)


@dataclass(frozen=True)
class Selection(ABC):
    """Base of every selection."""

    # What it is told beyond the clients' numbers of samples: words of `fedlt.strategy.NEEDS`.
    needs: ClassVar[tuple[str, ...]] = ()

    def obstacle(self, clients: int, size: int) -> str | None:
        """Why it has no meaning for so many clients and cohorts of this size, as a sentence; None where it has."""
        return None

    def ask(self, pool: Pool) -> Sequence[int]:
        """Clients that first test the model on their own samples and tell the loss; nobody, unless overridden.

        It takes the need `local_loss`. What they receive and compute is counted in the round's row.
        """
        return ()

    @abstractmethod
    def choose(self, pool: Pool) -> Sequence[int]:
        """The cohort: at least one client and at most `pool.size`, in any order, none twice."""


def nothing_to_choose(clients: int, size: int) -> str | None:
    """A sentence where every cohort is all clients, so that each selection chooses the same."""
    if size < clients:
        return None
    return f"a cohort is all {clients} clients, so that there is nothing to choose; lower federation.participation"


def candidates_of(wanted: int | None, clients: int, size: int) -> int:
    """How many clients a cohort is chosen from.

    Args:
        wanted: the scenario's number; None: two for each place.
    """
    return min(clients, 2 * size) if wanted is None else wanted


def too_few_or_many(wanted: int | None, clients: int, size: int) -> str | None:
    """A sentence where a cohort cannot be chosen from so many candidates.

    Args:
        wanted: candidates; None: as many as suit the cohort.
        clients: of the federation.
        size: of the cohort.
    """
    if wanted is None or size < wanted <= clients:
        return None
    if wanted > clients:
        return f"candidates={wanted}, and there are {clients} clients; take {clients} at most"
    return f"candidates={wanted} leave no choice for a cohort of {size}; take {size + 1} to {clients}"
