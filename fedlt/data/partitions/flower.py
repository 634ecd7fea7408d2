"""Flower's own partitioners (`flwr_datasets.partitioner`), run on a table of labels and row positions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from fedlt.data.partitions.scheme import KEY, UnluckyDraw
from fedlt.data.targets import Groups
from fedlt.errors import Problem, ScenarioError
from fedlt.process.seeding import generator, integer

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner


@dataclass(frozen=True)
class Iid:
    """Equal shares of the shuffled training set."""

    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        # As Flower's IidPartitioner cuts them, which would take minutes for 100,000 clients.
        shuffled = generator(seed if self.seed is None else self.seed, "partition").permutation(len(labels))
        owner = np.empty(len(labels), np.int64)
        owner[shuffled] = np.repeat(np.arange(clients), [len(part) for part in np.array_split(shuffled, clients)])
        return owner


@dataclass(frozen=True)
class Dirichlet:
    """Each class is cut among the clients by Dirichlet shares, with a smallest client (Yurochkin et al., ICML 2019)."""

    alpha: Annotated[float, "> 0"] = 0.5  # smaller: each class sits with fewer clients
    min_size: Annotated[int, ">= 0"] = 1  # samples of the smallest client; drawn again up to ten times to reach it
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        from flwr_datasets.partitioner import DirichletPartitioner

        chosen = seed if self.seed is None else self.seed
        partitioner = DirichletPartitioner(
            clients, "label", self.alpha, self.min_size, False, seed=integer(chosen, "partition")
        )
        return _deal(partitioner, labels, clients, chosen)


@dataclass(frozen=True)
class Pathological:
    """Each client holds a fixed number of classes; a class is shared evenly by the clients that hold it."""

    classes_per_client: Annotated[int, ">= 1"] = 2
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`. Client k holds class k (modulo the number of classes); the others are drawn."""
        from flwr_datasets.partitioner import PathologicalPartitioner

        chosen = seed if self.seed is None else self.seed
        partitioner = PathologicalPartitioner(
            clients, "label", self.classes_per_client, "first-deterministic", seed=integer(chosen, "partition")
        )
        return _deal(partitioner, labels, clients, chosen)


@dataclass(frozen=True)
class Shards:
    """Samples sorted by class are cut into equal shards, and each client gets a few (McMahan et al., AISTATS 2017)."""

    shards_per_client: Annotated[int, ">= 1"] = 2
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`. Shard sizes differ by at most one sample.

        Flower's partitioner deals whole shards here. Run on the samples themselves it would drop the remainder of
        the division from the end of the sorted set: all of the rarest classes, where there are many clients.
        """
        from flwr_datasets.partitioner import ShardPartitioner

        chosen = seed if self.seed is None else self.seed
        shards = clients * self.shards_per_client
        if shards > len(labels):
            message = f"{shards} shards cannot be cut from {len(labels)} samples; lower it or federation.clients"
            raise ScenarioError(Problem(f"{KEY}.shards_per_client", message))
        partitioner = ShardPartitioner(
            clients, "label", self.shards_per_client, shard_size=1, seed=integer(chosen, "partition")
        )
        owner_of_shard = _owners(partitioner, np.arange(shards), np.arange(shards), clients)
        shuffled = generator(chosen, "partition").permutation(len(labels))
        by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
        sizes = [len(shard) for shard in np.array_split(by_class, shards)]
        owner = np.empty(len(labels), np.int64)
        owner[by_class] = np.repeat(owner_of_shard, sizes)
        return owner


@dataclass(frozen=True)
class SizeSkewed:
    """Class mixes alike, sizes growing with the client's number: k, its square, or e to the k."""

    profile: Literal["linear", "square", "exponential"] = "linear"
    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        from flwr_datasets.partitioner import ExponentialPartitioner, LinearPartitioner, SquarePartitioner

        kinds = {"linear": LinearPartitioner, "square": SquarePartitioner, "exponential": ExponentialPartitioner}
        return _deal(kinds[self.profile](clients), labels, clients, seed if self.seed is None else self.seed)


def _deal(partitioner: Partitioner, labels: NDArray[np.int64], clients: int, seed: int) -> NDArray[np.int64]:
    """Owners by a Flower partitioner, of samples shuffled first (several partitioners cut in storage order)."""
    shuffled = generator(seed, "partition").permutation(len(labels))
    return _owners(partitioner, labels[shuffled], shuffled, clients)


def _owners(
    partitioner: Partitioner, labels: NDArray[np.int64], rows: NDArray[np.int64], clients: int
) -> NDArray[np.int64]:
    """The client of each row: `rows` is a permutation of 0..N-1, and row rows[i] has label labels[i]."""
    from datasets import Dataset

    owner = np.full(len(rows), -1, np.int64)
    partitioner.dataset = Dataset.from_dict({"label": labels, "row": rows})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # retries and unused classes: the latter are refused below
            partitioner.load_partition(0)

            # All are cut now, and each is a selection: as a data set of its own it would take milliseconds.
            held = np.asarray(partitioner.dataset["row"][:], np.int64)
            partitioner.dataset.select = held.__getitem__
            for client in range(clients):
                owner[partitioner.load_partition(client)] = client
    except ValueError as error:
        reason = str(error).rstrip(". ").replace(";", ",")
        message = f"Flower's {type(partitioner).__name__} refuses: {reason}; use fewer clients, or change its keys"
        raise UnluckyDraw(Problem(KEY, message)) from error
    unheld = np.unique(labels[owner[rows] < 0])
    if len(unheld):
        message = (
            f"{len(unheld)} classes (class {unheld[0]} first) would be held by no client; "
            "use more clients, more classes per client, or partition: shards"
        )
        raise UnluckyDraw(Problem(KEY, message))
    return owner
