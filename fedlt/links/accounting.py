"""Epsilon of Gaussian noise on sums over cohorts of a fixed size, by the dp-accounting library."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray


def installed() -> bool:
    """Whether the library is there."""
    return find_spec("dp_accounting") is not None


def epsilon(rounds: Sequence[int], clients: int, noise: float, delta: float) -> float:
    """Epsilon of all rounds together, where one client's data are replaced by others.

    What is the same for every round is computed once.

    Args:
        rounds: [M + 1] how many rounds there were with 0..M clients.
        clients: of which they were drawn, without replacement.
        noise: standard deviation over sensitivity.
    """
    from dp_accounting.rdp import compute_epsilon

    spent = [(count, *_renyi(clients, size, noise)) for size, count in enumerate(rounds) if size and count]
    if not spent:
        return 0.0
    total = sum(count * divergences for count, _, divergences in spent)
    return float(compute_epsilon(spent[0][1], total, delta)[0])


@lru_cache(maxsize=256)
def _renyi(clients: int, cohort: int, noise: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orders, and the Rényi divergence of one round at each of them."""
    from dp_accounting import GaussianDpEvent, NeighboringRelation, SampledWithoutReplacementDpEvent
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    accountant.compose(SampledWithoutReplacementDpEvent(clients, cohort, GaussianDpEvent(noise)))
    return np.asarray(accountant.orders), np.asarray(accountant.rdp)
