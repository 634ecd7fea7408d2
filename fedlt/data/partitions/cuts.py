"""What the partitions that cut classes at Dirichlet shares have in common.

They draw from NumPy's legacy generator in the order of the papers' code, so that a seed gives the same sizes there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences
from fedlt.data.partitions.scheme import KEY
from fedlt.errors import Problem, ScenarioError

Owner = NDArray[np.int64]
"""The client of each sample, int64 [N]."""

ATTEMPTS = 1000


def usual_least(samples: int, clients: int) -> int:
    """Samples of the smallest client in PFLlib and LongTailLib: 40, but at most half of an equal share."""
    return min(40, samples // (2 * clients))


def dirichlet_cuts(
    draws: np.random.RandomState,
    labels: NDArray[np.int64],
    clients: int,
    alpha: float,
    full: float | None = None,
    shuffle: bool = True,
) -> Owner | None:
    """One pass over the classes: each is cut at the cumulated shares of its own draw, rounded down.

    None where the shares are undefined: the draws underflow, or all clients with a share are full.

    Args:
        draws: NumPy's old generator, so that the draws are those of the official code.
        labels: int64 [N].
        clients: K.
        alpha: of the Dirichlet distribution over clients; the smaller, the fewer clients hold a class.
        full: clients that hold as many samples get nothing of further classes, but for the rounding's rest, which the
            last client gets; None: there is no such bound.
        shuffle: deal the samples of a class in random order, drawn before its shares; else as they stand.
    """
    owner = np.empty(len(labels), np.int64)
    held = np.zeros(clients, np.int64)

    for label in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == label)
        if shuffle:
            draws.shuffle(rows)

        shares = draws.dirichlet(np.repeat(alpha, clients))
        if full is not None:
            shares = shares * (held < full)
            shares = shares / shares.sum() if shares.sum() > 0 else shares
        if not np.isfinite(shares).all() or abs(shares.sum() - 1) > 1e-8:
            return None

        sizes = cut_sizes(shares, len(rows))
        owner[rows] = np.repeat(np.arange(clients), sizes)
        held += sizes

    return owner


def cut_sizes(shares: NDArray[np.float64], samples: int) -> NDArray[np.int64]:
    """Samples of each client of one class, cut at the cumulated shares, rounded down.

    Args:
        shares: [K], which sum to 1.
        samples: of the class.

    Returns:
        int64 [K], which sum to `samples`.
    """
    ends = (np.cumsum(shares) * samples).astype(np.int64)
    ends[-1] = samples
    return np.diff(ends, prepend=0)


def redrawn(draw: Callable[[], Owner | None], clients: int, least: int, attempts: int = ATTEMPTS) -> Owner | None:
    """The first draw in which every client has enough samples.

    Args:
        draw: gives int64 [N] owners; None: this draw failed.
        clients: K.
        least: samples of the smallest client.
        attempts: draws at most.

    Returns:
        Its owners; None where no attempt gives one, which `no_draw` puts into words.
    """
    for _ in range(attempts):
        owner = draw()
        if owner is not None and occurrences(owner, clients).min() >= least:
            return owner
    return None


def no_draw(attempts: int, least: int, remedy: str) -> ScenarioError:
    """What is said where `redrawn` finds none."""
    return ScenarioError(Problem(KEY, f"none of {attempts} draws gave every client {least} samples; {remedy}"))
