"""Contract 1: a federated algorithm is one frozen dataclass with both of its sides. Read this file first.

The fields are the hyper-parameters, the YAML keys and the documentation. The class is frozen so that no state can
hide on `self` and differ between the server and a worker: state is `client.state`, `server.state`, or in an `Update`.

    @dataclass(frozen=True)
    class FedProx(Strategy):
        mu: float = 0.01

        def loss(self, client, batch):
            drift = client.weights() - client.start
            return super().loss(client, batch) + self.mu / 2 * drift.square().sum()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fedlt.data.site import Batch, Rows, Site
from fedlt.errors import FedLTError
from fedlt.learner import Learner, Logits
from fedlt.nn.net import LossModule

if TYPE_CHECKING:
    from fedlt.data.task import Task
    from fedlt.nn.flat import Flat
    from fedlt.nn.net import Net

NEEDS = {
    "class_prior": "the number of training samples of each class over all clients, as `task.class_counts`",
    "auxiliary_set": "balanced labelled data at the server (`data.auxiliary`), as `server.auxiliary`",
    "class_counts": "each client tells its number of samples of each class",
    "prototypes": "each client sends class means of its features",
    "class_gradients": "each client sends gradients class by class",
    "sgd": "steps of `local.optimizer=sgd`, by whose summed rates the method divides",
    "unlabelled": "samples without labels at the sites (`data.unlabelled`), as `site.unlabelled`",
}
"""What a strategy or a learner may declare as `needs`. The first two are given to none but those who do."""


class Weightless(FedLTError):
    """Updates that all have the weight zero: they have no mean."""

    def __init__(self, clients: tuple[int, ...]) -> None:
        who = "client" if len(clients) == 1 else "clients"
        super().__init__(
            f"the updates of {who} {', '.join(map(str, clients))} all weigh nothing, so they have no mean: weight() "
            "gave 0 for each; give every client a weight above 0, such as a small part of its number of samples"
        )


@dataclass
class Update:
    """What one client sends back, or the sum over several clients that a worker has folded together.

    clients: their ids. weight: the sum of their weights. total: [S] weighted sum of their shared vectors.
    sums: plain sums of the tensors that the strategy put into `client.extras`. values: [n, ...] what it put into
    `client.values`, one row per client, in the order of `clients`.
    """

    clients: tuple[int, ...]
    weight: float
    total: Tensor
    sums: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> Tensor:
        """[S] weighted mean of the shared vectors. Raises `Weightless` where all weights are zero."""
        if not self.weight:
            raise Weightless(self.clients)
        return self.total / self.weight

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return self.total.nbytes + sum(t.nbytes for named in (self.sums, self.values) for t in named.values())

    def add(self, other: Update) -> None:
        """Fold another update into this one, in place."""
        self.clients += other.clients
        self.weight += other.weight
        self.total += other.total
        for name, value in other.sums.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        if self.values.keys() != other.values.keys():
            raise ValueError(f"clients sent different values: {sorted(self.values)} and {sorted(other.values)}")
        self.values = {name: torch.cat([value, other.values[name]]) for name, value in self.values.items()}


def combine(updates: Iterable[Update]) -> Update:
    """All updates folded into a new one, in the order given. Raises ValueError where there is none."""
    iterator: Iterator[Update] = iter(updates)
    try:
        first = next(iterator)
    except StopIteration:
        raise ValueError("there is no update to combine") from None
    whole = Update(first.clients, first.weight, first.total.clone(), dict(first.sums), dict(first.values))
    for update in iterator:
        whole.add(update)
    return whole


@dataclass
class Client(Site):
    """One client, as the client half of a strategy sees it (beside what every `Site` has).

    id: its number. start: [T] the shared trainable weights that it received. received: tensors from the server's
    `outbox`. extras: tensors that go to the server and are summed over clients. values: tensors, of equal shapes and
    few numbers, that go to the server and stay apart. Private parameters are kept for it between rounds, as is its
    `state`.
    """

    id: int = 0
    start: Tensor = field(default_factory=lambda: torch.empty(0))
    received: dict[str, Tensor] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)

    def weights(self) -> Tensor:
        """[T] the shared trainable weights as one differentiable vector, in the layout of `start`."""
        return self.flat.weights()

    def loss_at(self, weights: dict[str, Tensor], loss: Callable[[Any, Batch], Tensor], batch: Batch) -> Tensor:
        """The loss of a batch as if these weights, by name, were the model's; gradients reach them alone.

        Buffers may be given too, and are moved; of all others a copy is, so that running statistics stay the model's.
        """
        from torch.func import functional_call  # takes a while to import

        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers() if name not in weights}
        given = {f"model.{name}": tensor for name, tensor in (buffers | weights).items()}
        return functional_call(LossModule(self.model, loss), given, (self, batch))  # type: ignore[no-any-return]

    @contextmanager
    def own(self, name: str) -> Iterator[None]:
        """For a while the model is the client's own, `state[name]`, a vector like `flat.shared` that `begin` has set.

        What it becomes is kept there, and the model is again what it was before.
        """
        shared = self.flat.shared.clone()
        self.flat.load_shared(self.state[name])
        yield
        self.state[name] = self.flat.shared.clone()
        self.flat.load_shared(shared)


@dataclass
class Server:
    """What the server half of a strategy sees. Workers that evaluate the generic model see it without `state`.

    state: tensors kept between rounds. outbox: tensors that every client of the coming rounds receives.
    round: 1-based. cohort: the ids of the clients that train in this round. num_clients, num_samples: of the whole
    federation. rng: the server's generator of this round. auxiliary: labelled data of its own, for strategies that
    declare the need. learner: how the clients learn, and how their models predict.
    """

    model: Net
    flat: Flat
    task: Task
    state: dict[str, Tensor] = field(default_factory=dict)
    outbox: dict[str, Tensor] = field(default_factory=dict)
    round: int = 0
    cohort: tuple[int, ...] = ()
    num_clients: int = 0
    num_samples: int = 0
    auxiliary: Rows | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    learner: Learner = field(default_factory=Learner)

    @property
    def weights(self) -> Tensor:
        """[S] the shared vector of the generic model: trainable weights, then buffers. Assigning copies into it."""
        return self.flat.shared

    @weights.setter
    def weights(self, value: Tensor) -> None:
        self.flat.load_shared(value)


@dataclass(frozen=True)
class Strategy:
    """Base of every federated algorithm; as it stands, it is FedAvg. Override the smallest thing that differs."""

    private: ClassVar[tuple[str, ...]] = ()  # patterns of parameters that a client keeps between rounds
    frozen: ClassVar[tuple[str, ...]] = ()  # patterns of parameters equal everywhere: never trained, never sent
    foldable: ClassVar[bool] = True  # aggregate() needs sums only, so workers may add blocks of clients up
    has_generic: ClassVar[bool] = True  # False: there is no generic model to test
    union: ClassVar[bool] = False  # True: one site holds the data of all clients
    needs: ClassVar[tuple[str, ...]] = ()  # what it is given or sends beyond the model; the words stand in `NEEDS`
    uses_learner: ClassVar[bool] = True  # False: its losses are its own, so only learner=cross_entropy has a meaning
    apart: ClassVar[bool] = False  # True: it trains head and backbone in turns: no learner with such stages of its own
    own_head: ClassVar[bool] = (
        False  # True: it puts a head of its own in the place of the linear one: no learner's head
    )
    linear_head: ClassVar[bool] = False  # True: it reads the weights of the head, which must be one linear layer
    own_prediction: ClassVar[bool] = False  # True: it predicts by a linear head and never asks the learner how
    young: ClassVar[tuple[str, ...]] = ()  # fields that scenarios leave out at their defaults, so that hashes stay
    prompt: ClassVar[str] = ""  # why an update that arrives rounds later has no meaning, as a sentence; "": it has

    def build(self, model: Net, task: Task) -> None:
        """Add heads or other modules to the model. Runs on the server and on every worker, seeded alike."""

    def remarks(self, cohort: int) -> Iterable[str]:
        """Lines that a run of so many sampled clients says at its start: what of its settings has no effect, say."""
        return ()

    def setup(self, server: Server) -> None:
        """Prepare the server before the first round: its state, and the outbox that the first clients receive."""

    def begin(self, client: Client) -> None:
        """Prepare a client that has no state yet; its private parameters are those of the initial model."""

    def fit(self, client: Client) -> None:
        """One round of local work."""
        client.train(self.loss)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """Scalar loss of one batch."""
        return client.learner.loss(client, batch)

    def weight(self, client: Client) -> float:
        """The client's weight in the mean; its number of training samples unless overridden."""
        return float(client.num_samples)

    def adapt(self, client: Client) -> None:
        """Make the received model personal, once before each evaluation: fine-tune it, or load a model of its own."""

    def personal(self, client: Client, x: Tensor) -> Logits:
        """[B, C] logits of the client's personal model; a dictionary names variants, the first is the headline."""
        return client.learner.predict(client.model, x)

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Turn the round's updates into the next generic model."""
        server.weights = combine(updates).mean

    def generic(self, server: Server, x: Tensor) -> Logits:
        """[B, C] logits of the generic model; a dictionary names variants, the first is the headline."""
        return server.learner.predict(server.model, x)
