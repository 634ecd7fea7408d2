"""The partitions of PFLlib (Zhang et al.: PFLlib: A Beginner-Friendly and Comprehensive Personalized Federated Learning
Library. JMLR 2025), by the very draws of its code at commit d832e76, `dataset/utils/dataset_utils.py`.

PFLlib deals training and test set merged and then splits each client's part 75 to 25; here the training set alone is
dealt, and `federation.local_test` draws the clients' tests. Its `balance` has a meaning for `pat` alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fedlt.data.partitions.cuts import ATTEMPTS, Owner, dirichlet_cuts, no_draw, redrawn, usual_least
from fedlt.data.partitions.scheme import KEY, legacy_generator
from fedlt.data.targets import Groups
from fedlt.errors import Problem, ScenarioError
from fedlt.process.wording import counted


@dataclass(frozen=True)
class DirichletCapped:
    """Each class is cut at Dirichlet shares, and full clients get no more: PFLlib's dir, or LongTailLib's global.

    A client is full that holds an equal share of all samples, N / K. `cap: false` is the global kind of LongTailLib
    (commit 13d7e81), whose option alpha must be in (0, 1] and means 100 where it is 1. The whole is drawn again, by
    the same stream, until the smallest client has `min_size`.
    """

    alpha: Annotated[float, "> 0"] = 0.1  # smaller: each class sits with fewer clients
    cap: bool = True  # clients that hold an equal share get nothing of further classes
    min_size: Annotated[int, ">= 0"] | None = None  # of the smallest client; null: 40, at most half an equal share
    seed: Annotated[int, ">= 0", "<= 4294967295"] | None = None  # null: the scenario's; 1 in PFLlib and LongTailLib

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        draws = legacy_generator(self.seed, seed)
        least = usual_least(len(labels), clients) if self.min_size is None else self.min_size
        full = len(labels) / clients if self.cap else None
        owner = redrawn(lambda: dirichlet_cuts(draws, labels, clients, self.alpha, full), clients, least)
        if owner is None:
            raise no_draw(ATTEMPTS, least, "use a larger alpha, a smaller min_size or fewer clients")
        return owner


@dataclass(frozen=True)
class DirichletExtended:
    """Clients draw their classes, which are then cut at Dirichlet shares among them: PFLlib's exdir.

    Li & Lyu: Convergence Analysis of Sequential Federated Learning on Heterogeneous Data. NeurIPS 2023.

    The classes are drawn until each has half of the clients that an even spread would give it; shares are drawn over
    all clients, and zero for those that lack the class or hold N / K samples; the rounding's rest goes to the last
    holder. PFLlib draws shares until every client has ten samples, for ever if need be: under a long tail, the classes
    of a client may not hold that many. Here the classes are drawn anew after 100 vain passes, ten times.
    """

    classes_per_client: Annotated[int, ">= 1"] = 2
    alpha: Annotated[float, "> 0"] = 100.0  # smaller: the holders of a class get less alike shares
    min_size: Annotated[int, ">= 0"] = 10  # samples of the smallest client
    seed: Annotated[int, ">= 0", "<= 4294967295"] | None = None  # null: the scenario's; 1 in PFLlib

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        draws = legacy_generator(self.seed, seed)
        passes, times = 100, 10
        for _ in range(times):
            holds = self._holders(draws, int(labels.max()) + 1, clients)
            owner = redrawn(lambda: self._cuts(draws, labels, holds), clients, self.min_size, passes)  # noqa: B023
            if owner is not None:
                return owner
        remedy = "use more classes_per_client, a larger alpha, a smaller min_size or fewer clients"
        raise no_draw(passes * times, self.min_size, remedy)

    def _holders(self, draws: np.random.RandomState, classes: int, clients: int) -> NDArray[np.bool_]:
        """Which client may hold which class, bool [C, K]."""
        each = self.classes_per_client
        if not each <= classes <= each * clients:
            message = f"expected {-(-classes // clients)} to {classes}, for {classes} classes and {clients} clients"
            raise ScenarioError(Problem(f"{KEY}.classes_per_client", f"{message}, got {each}"))

        least = max(each * clients // classes // 2, 1)
        for _ in range(ATTEMPTS):
            holds = np.zeros((classes, clients), bool)
            for client in range(clients):
                holds[draws.choice(classes, each, replace=False), client] = True
            if holds.sum(axis=1).min() >= least:
                return holds
        message = (
            f"none of {ATTEMPTS} draws gave every class {counted(least, 'client')}; use more of them, or more clients"
        )
        raise ScenarioError(Problem(f"{KEY}.classes_per_client", message))

    def _cuts(self, draws: np.random.RandomState, labels: NDArray[np.int64], holds: NDArray[np.bool_]) -> Owner | None:
        """One pass over the classes; None where all holders of a class are full."""
        clients = holds.shape[1]
        owner = np.empty(len(labels), np.int64)
        held = np.zeros(clients, np.int64)
        for label, allowed in enumerate(holds):
            rows = np.flatnonzero(labels == label)
            draws.shuffle(rows)
            shares = draws.dirichlet(np.repeat(self.alpha, clients)) * (held < len(labels) / clients) * allowed
            if not shares.sum() > 0:
                return None

            ends = (np.cumsum(shares / shares.sum()) * len(rows)).astype(np.int64)
            sizes = np.diff(ends, prepend=0)
            sizes[np.flatnonzero(allowed)[-1]] += len(rows) - sizes.sum()
            owner[rows] = np.repeat(np.arange(clients), sizes)
            held += sizes
        return owner


@dataclass(frozen=True)
class ClassBlocks:
    """Classes go one by one to the next clients that lack some: PFLlib's pat.

    Class c goes to the first ceil(K q / C) clients that hold fewer than q classes, in equal parts, the rest to the last
    of them. `balance: false` draws the parts of all but the last, between a tenth of an equal part and all of it; with
    q = C (PFLlib's unbalanced IID) the last client then holds about half of all samples. Samples are dealt in storage
    order. Where K q / C is not whole, PFLlib runs out of clients and drops the last classes; that is refused here.
    """

    classes_per_client: Annotated[int, ">= 1"] = 2
    balance: bool = True  # equal parts of a class; false: drawn
    seed: Annotated[int, ">= 0", "<= 4294967295"] | None = None  # of balance: false; null: the scenario's

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        draws = legacy_generator(self.seed, seed)
        classes = int(labels.max()) + 1
        least = usual_least(len(labels), clients) / classes
        each = math.ceil(clients / classes * self.classes_per_client)
        places = np.full(clients, self.classes_per_client)
        owner = np.empty(len(labels), np.int64)

        for label in range(classes):
            chosen = np.flatnonzero(places > 0)[:each]
            if not len(chosen):
                message = (
                    f"{clients} clients of {self.classes_per_client} classes each have no place for class {label} of "
                    f"{classes}; take numbers whose product is a multiple of {classes}"
                )
                raise ScenarioError(Problem(f"{KEY}.classes_per_client", message))
            rows = np.flatnonzero(labels == label)
            owner[rows] = np.repeat(chosen, self._parts(draws, label, len(rows), len(chosen), least))
            places[chosen] -= 1

        return owner

    def _parts(
        self, draws: np.random.RandomState, label: int, samples: int, holders: int, least: float
    ) -> NDArray[np.int64]:
        """Samples of each holder of a class, int64 [holders]."""
        equal = samples / holders
        if self.balance:
            parts = np.full(holders - 1, int(equal))
        else:
            low, high = int(max(equal / 10, least)), int(equal)
            if low >= high and holders > 1:
                message = f"the {samples} samples of class {label} are too few for drawn parts of {holders} clients"
                raise ScenarioError(Problem(f"{KEY}.balance", f"{message}; use balance: true"))
            parts = draws.randint(low, high, holders - 1) if holders > 1 else np.zeros(0, np.int64)
        return np.append(parts, samples - parts.sum()).astype(np.int64)
