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

from fedlt.config.declarations import NEEDS as NEEDS
from fedlt.config.hook_results import expect_vector
from fedlt.data.site import Batch, Rows, Site
from fedlt.errors import FedLTError, HookError
from fedlt.learner import Learner, Logits, headline
from fedlt.nn.net import LossModule

if TYPE_CHECKING:
    from fedlt.data.task import Task
    from fedlt.nn.flat import Flat
    from fedlt.nn.net import Net


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

    Attributes:
        clients: their ids.
        weight: the sum of their weights.
        total: [S] weighted sum of their shared vectors.
        sums: plain sums of the tensors that the strategy put into `client.extras`.
        values: [n, ...] what it put into `client.values`, one row per client, in the order of `clients`.
    """

    clients: tuple[int, ...]
    weight: float
    total: Tensor
    sums: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> Tensor:
        """[S] weighted mean of the shared vectors.

        Raises:
            Weightless: where all weights are zero.
        """
        if not self.weight:
            raise Weightless(self.clients)
        return self.total / self.weight

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return self.total.nbytes + sum(t.nbytes for named in (self.sums, self.values) for t in named.values())

    def add(self, other: Update) -> None:
        """Fold another update into this one, in place."""
        self._expect_alike(other)
        self.clients += other.clients
        self.weight += other.weight
        self.total += other.total
        for name, value in other.sums.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.values = {name: torch.cat([value, other.values[name]]) for name, value in self.values.items()}

    def _expect_alike(self, other: Update) -> None:
        """Raise `HookError` where the two have tensors that cannot be put together."""
        if self.values.keys() != other.values.keys():
            what = f"clients sent different names in client.values: {sorted(self.values)} and {sorted(other.values)}"
            raise HookError(f"{what}; let every client set the same ones")
        for box, one, two, own in (("extras", self.sums, other.sums, 0), ("values", self.values, other.values, 1)):
            for name in one.keys() & two.keys():
                shapes = list(one[name].shape[own:]), list(two[name].shape[own:])
                if shapes[0] != shapes[1]:
                    what = f"clients sent client.{box}[{name!r}] of the shapes {shapes[0]} and {shapes[1]}"
                    raise HookError(f"{what}; give it the same shape at every client")


def combine(updates: Iterable[Update]) -> Update:
    """All updates folded into a new one, in the order given.

    Raises:
        ValueError: where there is none.
    """
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

    Private parameters are kept for it between rounds, as is its `state`.

    Attributes:
        id: its number.
        start: [T] the shared trainable weights that it received.
        received: tensors from the server's `outbox`, and those of the letter to it, which go before the others.
        extras: tensors that go to the server and are summed over clients.
        values: tensors, of equal shapes and few numbers, that go to the server and stay apart.
    """

    id: int = 0
    start: Tensor = field(default_factory=lambda: torch.empty(0))
    received: dict[str, Tensor] = field(default_factory=dict)
    extras: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)

    def weights(self) -> Tensor:
        """[T] the shared trainable weights as one differentiable vector, in the layout of `start`."""
        return self.flat.weights()

    @property
    def vector(self) -> Tensor:
        """[S] all that the client shares, as it is now: trainable weights, then buffers.

        No copy: clone what is kept. Assigning copies into the model.
        """
        return self.flat.shared

    @vector.setter
    def vector(self, value: Tensor) -> None:
        self.flat.load_shared(expect_vector(value, self.flat.shared, "client.vector"))

    def shared_parameters(self) -> dict[str, Tensor]:
        """The shared trainable parameters by name, in the order of `weights()`."""
        return self.flat.shared_parameters()

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
        """For a while the model is the client's own, `state[name]`, a vector like `vector` that `begin` has set.

        What it becomes is kept there, and the model is again what it was before.
        """
        shared = self.vector.clone()
        self.vector = self.state[name]
        yield
        self.state[name] = self.vector.clone()
        self.vector = shared


@dataclass
class Server:
    """What the server half of a strategy sees. Workers that evaluate the generic model see it without `state`.

    Attributes:
        state: tensors kept between rounds.
        outbox: tensors that every client of the coming rounds receives.
        round: 1-based.
        cohort: the ids of the clients that train in this round.
        num_clients, num_samples: of the whole federation.
        rng: the server's generator of this round.
        auxiliary, unlabelled, validation: data of its own, for strategies that declare the need; those without labels
            have targets that tell nothing.
        learner: how the clients learn, and how their models predict.
        letters: by client, tensors that it alone receives, in rounds and tests, until they are taken out.
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
    unlabelled: Rows | None = None
    validation: Rows | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    learner: Learner = field(default_factory=Learner)
    letters: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def weights(self) -> Tensor:
        """[S] the shared vector of the generic model: trainable weights, then buffers. Assigning copies into it."""
        return self.flat.shared

    @weights.setter
    def weights(self, value: Tensor) -> None:
        self.flat.load_shared(expect_vector(value, self.flat.shared, "server.weights"))

    @property
    def trainable(self) -> slice:
        """Where the trainable weights stand in `weights` and in updates: `server.weights[server.trainable]` is [T]."""
        return slice(self.flat.num_trainable)

    @torch.no_grad()
    def logits_of(self, vector: Tensor, x: Tensor) -> Tensor:
        """[B, C] logits of a client's shared vector [S], such as the mean of its update; the generic model stays.

        What clients keep for themselves is at its start here. A strategy that looks at single clients is not foldable.
        """
        own = self.weights.clone()
        self.weights = vector
        try:
            self.model.eval()
            return headline(self.learner.predict(self.model, x))
        finally:
            self.weights = own


@dataclass(frozen=True)
class Strategy:
    """Base of every federated algorithm; as it stands, it is FedAvg. Override the smallest thing that differs."""

    # Patterns of parameters that a client keeps between rounds, and of those equal everywhere: never trained or sent.
    private: ClassVar[tuple[str, ...]] = ()
    frozen: ClassVar[tuple[str, ...]] = ()

    # aggregate() needs sums only, so workers may add blocks of clients up.
    foldable: ClassVar[bool] = True

    # "personal": there is no generic model to test. "centralized": one site holds the data of all clients.
    scope: ClassVar[str] = "federated"

    # What it uses of a learner; one that brings another part is refused. Losses of its own: ().
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "stages", "head", "prediction")

    # What it is given or sends beyond the model, and what must hold of model and federation: words of `NEEDS`.
    needs: ClassVar[tuple[str, ...]] = ()

    # Fields younger than runs of it, which scenarios leave out at their defaults, so that their hashes stay.
    young: ClassVar[tuple[str, ...]] = ()

    def obstacle(self, model: Net, task: Task) -> str | None:
        """Why the method has no meaning with this model, as a sentence; None where it has."""
        return None

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

    def conclude(self, client: Client) -> None:
        """After the last round, at every client: put what the server asks of the finished generic model, which is
        loaded, into `extras` and `values`. Nothing is trained, and what it does to `state` is not kept.
        """

    def concluded(self, server: Server, updates: Iterable[Update]) -> None:
        """Take what `conclude` has sent, before the last test. Each update's `total` is empty."""

    def generic(self, server: Server, x: Tensor) -> Logits:
        """[B, C] logits of the generic model; a dictionary names variants, the first is the headline."""
        return server.learner.predict(server.model, x)
