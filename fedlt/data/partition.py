"""How the training samples are dealt to the clients. Reads labels and group columns, never inputs.

Each scheme is a frozen dataclass: its fields are its keys in `federation.partition`. Schemes that Flower has are
Flower's own partitioners (`flwr_datasets.partitioner`), run on a table of labels and row positions.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences
from fedlt.data.ragged import Ragged
from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.seeding import generator, integer

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

KEY = "federation.partition"
REDRAWS = 100

Groups = Mapping[str, NDArray[np.int64]]


class UnluckyDraw(ScenarioError):
    """A draw that cannot be used, where another seed may give one that can. Its message ends with `; REMEDY`."""


class Scheme(Protocol):
    """What a partition is."""

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """The client of each training sample, int64 [N], each in 0..clients-1.

        labels: int64 [N], the class that each sample follows (`Targets.lead`): its own, or the rarest of several.
        groups: group columns, int64 [N] each. seed: the scenario's, used where the scheme has none of its own. Raises
        `ScenarioError` under `federation.partition`.
        """


@dataclass(frozen=True)
class DirichletPerClass:
    """Each class is spread over the clients by its own Dirichlet draw: the very draws of the FedLoGe code."""

    alpha: Annotated[float, "> 0"] = 0.5  # smaller: each class sits with fewer clients
    seed: Annotated[int, ">= 0", "<= 4294967295"] | None = None  # null: the scenario's; 3407 in the FedLoGe code

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`. Sizes follow from the class counts alone; sample rows are dealt in storage order."""
        chosen = seed if self.seed is None else self.seed
        if chosen > 2**32 - 1:
            raise ScenarioError(Problem(f"{KEY}.seed", f"must be below 2^32 for this partition, got {chosen}"))
        draws = np.random.RandomState(chosen)
        sizes = occurrences(labels, int(labels.max()) + 1)
        draws.binomial(1, 1, size=(clients, len(sizes)))  # all ones, but the official code draws them: state moves
        owner = np.empty(len(labels), np.int64)
        for label, size in enumerate(sizes):
            shares = draws.dirichlet(self.alpha * np.ones(clients))

            # Where all gamma draws underflow, NumPy divides 0 by 0. The limit for small alpha is one client.
            if not np.isfinite(shares).all() or abs(shares.sum() - 1) > 1e-8:
                shares = np.eye(clients)[draws.randint(clients)]

            owner[labels == label] = draws.choice(clients, size, p=shares)
        return owner


@dataclass(frozen=True)
class Iid:
    """Equal shares of the shuffled training set."""

    seed: Annotated[int, ">= 0"] | None = None  # null: the scenario's

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`."""
        from flwr_datasets.partitioner import IidPartitioner

        return _deal(IidPartitioner(clients), labels, clients, seed if self.seed is None else self.seed)


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


@dataclass(frozen=True)
class Natural:
    """One client for each value of a group column, such as the site or the writer."""

    column: str

    def assign(self, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
        """See `Scheme.assign`. Clients are in ascending order of the column's values."""
        return np.unique(self.values(groups), return_inverse=True)[1].astype(np.int64)

    def values(self, groups: Groups) -> NDArray[np.int64]:
        """The column, int64 [N]; raises `ScenarioError` where the data set has none of that name."""
        if self.column not in groups:
            known = ", ".join(sorted(groups)) or "none (name them in data.group_columns)"
            message = f"the training set has no group column {self.column!r}; it has: {known}"
            raise ScenarioError(Problem(f"{KEY}.column", message))
        return groups[self.column]


def partition(
    scheme: Scheme, labels: NDArray[np.int64], groups: Groups, clients: int | None, seed: int, empty: str = "error"
) -> Ragged:
    """Positions 0..N-1 of each client, ascending.

    clients: may be None for `Natural` only. empty: `error`, or `redraw` with the next seeds until every client has a
    sample. Raises `ScenarioError` under `federation`.
    """
    if isinstance(scheme, Natural):
        found = len(np.unique(scheme.values(groups)))
        if clients not in (None, found):
            message = f"column {scheme.column!r} makes {found} clients, not {clients}; write null or {found}"
            raise ScenarioError(Problem("federation.clients", message))
        clients = found
    if clients is None:
        message = "expected a number of clients; only partition: natural can find it in the data"
        raise ScenarioError(Problem("federation.clients", message))
    if clients > len(labels):
        message = f"{clients} clients cannot share {len(labels)} training samples; use at most {len(labels)}"
        raise ScenarioError(Problem("federation.clients", message))
    own: int | None = getattr(scheme, "seed", None)
    attempts = REDRAWS + 1 if empty == "redraw" else 1
    what, remedy = "", ""
    for attempt in range(attempts):
        # A scheme without a seed of its own is drawn anew by the scenario's.
        current = replace(scheme, seed=own + attempt) if own is not None else scheme  # type: ignore[type-var]
        try:
            rows = Ragged.from_owner(owners(current, labels, groups, clients, seed + attempt), clients)
        except UnluckyDraw as error:
            what, _, remedy = error.problems[0].message.partition("; ")
            continue
        bare = int((rows.sizes == 0).sum())
        if not bare:
            return rows
        what, remedy = f"{bare} of {clients} clients got no sample", "use a larger alpha or fewer clients"
    tried, other = (f" in each of {attempts} draws", "") if attempts > 1 else ("", ", or federation.empty: redraw")
    raise ScenarioError(Problem(KEY, f"{what}{tried}; {remedy}{other}"))


def owners(scheme: Scheme, labels: NDArray[np.int64], groups: Groups, clients: int, seed: int) -> NDArray[np.int64]:
    """The scheme's owners, int64 [N], each in 0..clients-1. Raises `ScenarioError` for all else."""
    name = type(scheme).__name__
    try:
        owner = np.asarray(scheme.assign(labels, groups, clients, seed))
    except FedLTError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[:2][-1]  # its own line, not that of a library
        where = f"{last.filename}, line {last.lineno}"
        raise ScenarioError(Problem(KEY, f"{name}.assign failed: {type(error).__name__}: {error} ({where})")) from error

    expected = f"expected one whole number in 0..{clients - 1} for each of the {len(labels)} training samples"
    if owner.ndim == 1 and len(owner) != len(labels):
        raise ScenarioError(Problem(KEY, f"{name}.assign gave {len(owner)} owners; {expected}"))
    if owner.shape != labels.shape:
        raise ScenarioError(Problem(KEY, f"{name}.assign gave an array of shape {list(owner.shape)}; {expected}"))
    if owner.dtype.kind not in "iu":
        raise ScenarioError(Problem(KEY, f"{name}.assign gave owners of type {owner.dtype}; {expected}"))
    nobody, beyond = int((owner < 0).sum()), int((owner >= clients).sum())
    if nobody or beyond:
        given = f"{nobody} samples to nobody (below 0) and {beyond} to clients beyond the {clients} that there are"
        raise ScenarioError(Problem(KEY, f"{name}.assign gave {given}; {expected}"))
    return owner.astype(np.int64)


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
            for client in range(clients):
                held: Any = partitioner.load_partition(client)["row"][:]
                owner[np.asarray(held, np.int64)] = client
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
