"""Long tails inside the clients, whose union need not have one. The samples that no client's tail needs are left out.

Each client ranks the classes in an order of its own, and holds a share of the class of rank i (from 0, of C) that
falls as F^(-i / (C - 1)), where F is the imbalance factor.

`local_tail` and `mixed_tail` follow LongTailLib, commit 13d7e81, `dataset/utils/dataset_utils.py`, by its very draws.
There, training and test set are merged first and each client's part is split 75 to 25, while the global test set
remains the original one: of CIFAR-10, about 2,100 of its 10,000 pictures are trained on. Here the training set alone is
dealt. `shifted_tail` follows the local long tail of FedWolf, whose clients draw from all of a class each, so that they
overlap and each holds as many samples of its largest class; here no sample has two owners.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences
from fedlt.data.partitions.cuts import ATTEMPTS, dirichlet_cuts, no_draw, redrawn, usual_least
from fedlt.data.partitions.scheme import KEY, NOBODY, legacy_generator
from fedlt.data.targets import Groups
from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator


@dataclass(frozen=True)
class LocalTail:
    """A long tail inside each client, cut from its part of a Dirichlet partition: LongTailLib's local.

    The classes are cut at shares of Dir(10 alpha). A client of n samples ranks its classes by chance, and keeps of each
    at most round(n w), where the weights w of the ranks sum to 1. The mode `official` keeps what there is where a class
    has fewer: about half of all samples are left out, and the clients' largest class is about 20 times the smallest
    where 50 is asked for. The mode `exact` keeps a smaller tail instead, of the factor that was asked for as far as
    whole samples allow. The official option alpha must be in (0, 1] and means 100 where it is 1.
    """

    leaves_out: ClassVar[bool] = True

    imbalance_factor: Annotated[float, ">= 1"] = 50.0  # largest class / smallest class of each client
    alpha: Annotated[float, "> 0"] = 0.5  # of the shares from which the tails are cut; 10 times this is used
    mode: Literal["official", "exact"] = "official"  # where samples lack: a tail with gaps, or a smaller one
    min_size: Annotated[int, ">= 0"] | None = None  # before the cut; null: 40, at most half an equal share
    seed: Annotated[int, ">= 0", "<= 4294967295"] | None = None  # null: the scenario's; 1 in LongTailLib

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        draws = legacy_generator(self.seed, seed)
        least = usual_least(len(labels), clients) if self.min_size is None else self.min_size
        whole = redrawn(lambda: dirichlet_cuts(draws, labels, clients, 10 * self.alpha), clients, least)
        if whole is None:
            raise no_draw(ATTEMPTS, least, "use a larger alpha, a smaller min_size or fewer clients")

        owner = np.full(len(labels), NOBODY)
        for client in range(clients):
            rows = np.flatnonzero(whole == client)
            owner[self._tail(draws, rows, labels[rows])] = client
        return owner

    def _tail(
        self, draws: np.random.RandomState, rows: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The rows that a client keeps of its own."""
        classes, counts = np.unique(labels, return_counts=True)
        ranked = draws.permutation(len(classes))  # ranked[i]: position in `classes` of the class of rank i
        weights = tail_weights(len(classes), self.imbalance_factor)
        scale = float(len(rows))
        if self.mode == "exact":
            scale = min(scale, float((counts[ranked] / weights).min()))

        wanted = np.empty(len(classes), np.int64)
        wanted[ranked] = np.maximum(1, np.rint(scale * weights))
        kept = [
            draws.choice(rows[labels == label], min(size, count), replace=False)
            for label, size, count in zip(classes, wanted, counts, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.int64), *kept])


@dataclass(frozen=True)
class MixedTail:
    """Most clients have a long tail of their own, the others equally many of each class: LongTailLib's mixed.

    Clients draw from common pools, one a class, up to N / K samples each: first those of a tail, by number, each with
    its own order of the classes, then the balanced ones. In the mode `official` the pools run dry, and late clients go
    without whole classes. In the mode `exact` all clients are smaller by the same measure, so that none goes short.
    """

    leaves_out: ClassVar[bool] = True

    imbalance_factor: Annotated[float, ">= 1"] = 50.0  # largest class / smallest class of a client with a tail
    tailed: Annotated[float, "> 0", "<= 1"] = 0.75  # share of the clients with a tail, rounded down, at least one
    mode: Literal["official", "exact"] = "official"  # where samples lack: late clients lack classes, or all are smaller
    seed: Annotated[int, ">= 0", "<= 4294967295"] | None = None  # null: the scenario's; 1 in LongTailLib

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        draws = legacy_generator(self.seed, seed)
        sizes = occurrences(labels, int(labels.max()) + 1)
        tailed = np.sort(draws.choice(clients, max(1, int(self.tailed * clients)), replace=False))
        balanced = np.setdiff1d(np.arange(clients), tailed)

        pools = [np.flatnonzero(labels == label) for label in range(len(sizes))]
        for pool in pools:
            draws.shuffle(pool)
        orders = [draws.permutation(len(sizes)) for _ in tailed]
        weights = tail_weights(len(sizes), self.imbalance_factor)

        def wanted(base: int) -> NDArray[np.int64]:
            """Samples of each client and class, int64 [K, C], the clients in the order in which they draw."""
            table = np.full((clients, len(sizes)), base // len(sizes))
            for place, order in enumerate(orders):
                table[place, order] = np.maximum(1, np.rint(base * weights))
            return table

        base = len(labels) // clients
        if self.mode == "exact":
            base = largest(base, lambda size: bool((wanted(size).sum(axis=0) <= sizes).all()), len(labels))
        return dealt(pools, wanted(base), np.concatenate([tailed, balanced]))


@dataclass(frozen=True)
class ShiftedTail:
    """Every client has the same long tail, but another largest class: the local long tail of FedWolf, without overlap.

    Client k holds int(n F^(-i / (C - 1))) samples, at least `smallest`, of the class s_k + i (modulo C), where s_k is
    drawn; C clients in a row have C different ones. With a multiple of C clients, the union is balanced.
    """

    leaves_out: ClassVar[bool] = True

    imbalance_factor: Annotated[float, ">= 1"] = 50.0  # largest class / smallest class of each client
    largest: Annotated[int, ">= 1"] | None = None  # samples of a client's largest class, n; null: as many as there are
    smallest: Annotated[int, ">= 1"] = 1  # samples of any class of a client; 10 in FedWolf
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        rng = generator(seed if self.seed is None else self.seed, "partition")
        sizes = occurrences(labels, int(labels.max()) + 1)
        classes = len(sizes)
        turns = [rng.permutation(classes) for _ in range(-(-clients // classes))]
        first = np.concatenate(turns)[:clients]
        rank = (np.arange(classes) - first[:, None]) % classes  # [K, C]
        falling = self.imbalance_factor ** (-rank / max(1, classes - 1))

        def wanted(size: int) -> NDArray[np.int64]:
            table: NDArray[np.int64] = np.maximum(self.smallest, (size * falling + 1e-9).astype(np.int64))
            return table

        def enough(size: int) -> bool:
            return bool((wanted(size).sum(axis=0) <= sizes).all())

        size = self.largest
        if size is None:
            size = largest(int(sizes.max()), enough, len(labels))
        elif not enough(size):
            short = wanted(size).sum(axis=0) - sizes
            label = int(np.argmax(short))
            message = f"the clients ask for {short[label] + sizes[label]} samples of class {label}, which has"
            raise ScenarioError(Problem(f"{KEY}.largest", f"{message} {sizes[label]}; lower it, or write null"))

        pools = [rng.permutation(np.flatnonzero(labels == label)) for label in range(classes)]
        return dealt(pools, wanted(size), np.arange(clients))


def tail_weights(ranks: int, factor: float) -> NDArray[np.float64]:
    """Shares of a client's samples by rank, falling exponentially.

    Args:
        ranks: classes that the client has.
        factor: of the first share to the last.

    Returns:
        [ranks], which sum to 1.
    """
    falling = np.exp(-np.arange(ranks) * np.log(factor) / max(1, ranks - 1))
    return falling / falling.sum()


def largest(most: int, enough: Callable[[int], bool], samples: int) -> int:
    """The largest size, up to `most`, for which the classes have enough samples, by bisection.

    Args:
        most: the largest size that is tried.
        enough: whether the classes have enough samples for clients of a size; what holds for one holds below it.
        samples: N, for the message.

    Raises:
        ScenarioError: where one sample is too much.
    """
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if enough(middle) else (low, middle - 1)
    if low < 1:
        message = f"{samples} samples are too few for a tail of each client in all classes; use fewer clients"
        raise ScenarioError(Problem(KEY, f"{message}, or data with more samples of the rarest class"))
    return low


def dealt(pools: list[NDArray[np.int64]], wanted: NDArray[np.int64], clients: NDArray[np.int64]) -> NDArray[np.int64]:
    """The client of each sample, int64 [N], or -1: each takes what it wants of a pool, as long as there is any.

    Args:
        pools: positions of the samples of each class.
        wanted: int64 [K, C], in the order in which clients take.
        clients: int64 [K], their numbers in this order.
    """
    owner = np.full(sum(map(len, pools)), NOBODY)
    for label, pool in enumerate(pools):
        ends = np.minimum(np.cumsum(wanted[:, label]), len(pool))
        owner[pool[: ends[-1]]] = np.repeat(clients, np.diff(ends, prepend=0))
    return owner
