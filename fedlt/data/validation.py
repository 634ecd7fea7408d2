"""Validation data: what rates, norms, early stopping and headlines are chosen by, so that no test sample decides.

There are two kinds. The *global* set has equally many samples of every class, like a balanced test set; it judges
generic models. A *local* set is a share of one client's own samples, so it has the client's mix; it judges personal
models. No row is in two of them, in the training data of any client, or in the counts that class groups follow from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.ragged import Ragged
from fedlt.process.seeding import generator
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from fedlt.config.sections import Validation
    from fedlt.data.targets import Targets

SHARE = 0.2
"""Share of each client's samples where only `per_class` is given."""
MOST_PER_CLASS = 100
"""Global samples of each class, at most, where `per_class` is not given: a recall's standard error is then 5 points."""


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """Training rows of the source that nobody trains on.

    Attributes:
        rows: int64 [V], the global set class by class, then the local sets client by client.
        targets: of these rows, the true ones.
        size: rows of the global set, G; the first G of `rows`.
        clients: positions in `rows` of each client's local set; a client's may be empty.
        from_training: int64 [C], samples of the global set that the long tail had kept, because too few were left out.
    """

    rows: NDArray[np.int64]
    targets: Targets
    size: int
    clients: Ragged
    from_training: NDArray[np.int64]

    @classmethod
    def of(
        cls, targets: Targets, whole: NDArray[np.int64], local: Ragged, from_training: NDArray[np.int64]
    ) -> ValidationSet:
        """The set made of rows of the global and of the local ones.

        Args:
            targets: true ones of the training set.
        """
        rows = np.concatenate([whole, local.values])
        positions = Ragged(len(whole) + np.arange(len(local.values)), local.offsets)
        return cls(rows, targets.select(rows), len(whole), positions, from_training)

    def per_class(self) -> NDArray[np.int64]:
        """Global samples of each class, int64 [C]."""
        return self.targets.counts(np.arange(self.size))

    def summary(self) -> dict[str, Any]:
        """What `run.json` says of it."""
        counts = self.per_class()
        return {
            "global": self.size,
            "per_class": [int(counts.min()), int(counts.max())],
            "from_training": int(self.from_training.sum()),
            "local": len(self.clients.values),
        }

    def text(self) -> str:
        """The same as a sentence."""
        counts = self.per_class()
        low, high = int(counts.min()), int(counts.max())
        each = f"{low}" if low == high else f"{low} to {high}"
        taken = int(self.from_training.sum())
        source = (
            f"{taken} of them taken from the training samples" if taken else "all of them left out by the long tail"
        )
        local = f"{len(self.clients.values)} of the clients' own samples"
        return f"validation: {counted(self.size, 'sample')}, {each} of each class, {source}; and {local}"


def draw_global(
    targets: Targets,
    kept: NDArray[np.int64],
    others: NDArray[np.int64],
    config: Validation,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The global set's rows class by class, the rows that stay for training, and int64 [C] how many it took from these.

    Rows that the long tail left out are drawn first. Where a class has too few of them, the rest comes from its
    training rows, of which at least half stay: a class with one row in all goes without a validation sample.

    Args:
        targets: true ones of the source; rows belong to the class that they follow.
        kept: rows of the long tail, in its order.
        others: rows that may be used at all, those of the long tail among them.
        seed: the scenario's, used where the configuration has none.
    """
    classes, lead = targets.num_classes, targets.lead
    wanted = _per_class(config, len(others), classes)
    free = np.setdiff1d(others, kept)

    drawn = [np.zeros(0, np.int64)]
    from_training = np.zeros(classes, np.int64)
    for label in range(classes) if wanted else ():
        # Rows that nobody trains on come first.
        rng = generator(_seed(config, seed), "validation", label)
        left_out, training = free[lead[free] == label], np.sort(kept[lead[kept] == label])
        first = rng.permutation(left_out)[:wanted]

        # At least half of a class's training rows stay.
        missing = min(wanted - len(first), len(training) // 2)
        from_training[label] = missing
        drawn.append(np.sort(np.concatenate([first, rng.permutation(training)[:missing]])))

    rows = np.concatenate(drawn)
    return rows, kept[~np.isin(kept, rows)], from_training


def draw_local(clients: Ragged, targets: Targets, config: Validation, seed: int) -> tuple[Ragged, Ragged]:
    """Rows of each client that stay for training, and those of its local validation set.

    Classes give in proportion to the client's samples of them (largest remainders, ties drawn), and each keeps at least
    one for training: a class that a client has seen stays seen. Rows count for the class that they follow.
    """
    share = SHARE if config.share is None else config.share
    kept, held = [], []
    for client, rows in enumerate(clients):
        rng = generator(_seed(config, seed), "validation-local", client)
        order = rng.permutation(len(rows))
        taken = np.zeros(len(rows), bool)
        _, inverse, counts = np.unique(targets.lead[rows], return_inverse=True, return_counts=True)
        for index, number in enumerate(_shares(counts, share, rng)):
            members = order[inverse[order] == index]
            taken[members[:number]] = True
        kept.append(rows[~taken])
        held.append(rows[taken])
    return Ragged.from_rows(kept), Ragged.from_rows(held)


def _shares(counts: NDArray[np.int64], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """[n] samples of each class to take, which sum to the share of all of them as far as each class keeps one."""
    room = counts - 1
    exact = share * counts
    taken = np.minimum(exact.astype(np.int64), room)
    missing = int(share * counts.sum() + 0.5) - int(taken.sum())
    by_remainder = np.lexsort((rng.random(len(counts)), -(exact - taken)))
    for index in by_remainder:
        if missing > 0 and taken[index] < room[index]:
            taken[index] += 1
            missing -= 1
    return taken


def _per_class(config: Validation, available: int, classes: int) -> int:
    if config.per_class is not None:
        return config.per_class
    return min(MOST_PER_CLASS, max(1, round((config.share or 0.0) * available / classes)))


def _seed(config: Validation, seed: int) -> int:
    return seed if config.seed is None else config.seed
