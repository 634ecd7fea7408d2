"""Training samples without labels: some of the clients' own whose labels are hidden, and others that they have besides.

Methods that use labels alone see fewer samples; semi-supervised ones find the others in `site.unlabelled`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.data.ragged import Ragged
from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator

if TYPE_CHECKING:
    from fedlt.config.sections import Unlabelled
    from fedlt.data.targets import Targets

KEY = "data.unlabelled"


def hide(clients: Ragged, config: Unlabelled, seed: int) -> tuple[Ragged, Ragged]:
    """Rows of each client that keep their label, and those that lose it; every client keeps at least one.

    Args:
        seed: the scenario's, used where the configuration has none.
    """
    kept, hidden = [], []
    for client, rows in enumerate(clients):
        order = generator(_seed(config, seed), "hidden", client).permutation(len(rows))
        count = int(config.hidden * len(rows))
        hidden.append(rows[np.sort(order[:count])])
        kept.append(rows[np.sort(order[count:])])
    return Ragged.from_rows(kept), Ragged.from_rows(hidden)


def extra_rows(
    targets: Targets, free: NDArray[np.int64], labelled: NDArray[np.int64], config: Unlabelled, seed: int
) -> NDArray[np.int64]:
    """`extra` times as many rows as there are labelled ones, out of the free rows, with an imbalance of their own.

    Classes keep their ranks: the largest labelled class is the largest here.

    Args:
        targets: true ones of the training set.
        free, labelled: rows, int64, counted by the class that they follow.

    Raises:
        ScenarioError: under `data.unlabelled` where the source has too few.
    """
    classes = targets.num_classes
    counts = targets.by_class(labelled).sizes
    rank = np.empty(classes, np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(classes)
    shape = config.imbalance_factor ** (-rank / max(1, classes - 1))
    wanted = np.rint(config.extra * len(labelled) * shape / shape.sum()).astype(np.int64)
    left = targets.by_class(free)
    available = left.sizes

    if (wanted > available).any():
        ratio = np.min(available[wanted > 0] / wanted[wanted > 0])
        message = (
            f"asks for {int(wanted.max())} samples of a class where the source has {int(available.min())} left; "
            f"use at most {config.extra * ratio:.3g}"
        )
        raise ScenarioError(Problem(f"{KEY}.extra", message))

    drawn = [
        generator(_seed(config, seed), "unlabelled", label).choice(rows, int(wanted[label]), replace=False)
        for label, rows in enumerate(left)
    ]

    return np.sort(np.concatenate(drawn))


def add_extra(hidden: Ragged, extra: NDArray[np.int64], config: Unlabelled, seed: int) -> Ragged:
    """Unlabelled rows of each client, ascending: its hidden ones, and the extra ones that chance gives it."""
    owner = generator(_seed(config, seed), "unlabelled-owner").integers(len(hidden), size=len(extra))
    return Ragged.from_rows([np.sort(np.concatenate([rows, extra[owner == k]])) for k, rows in enumerate(hidden)])


def _seed(config: Unlabelled, seed: int) -> int:
    return seed if config.seed is None else config.seed
