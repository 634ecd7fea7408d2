"""The contract of links: what may happen to an update on its way from a client to the mean.

A link is one frozen dataclass in a file, and its fields are its keys:

    federation.links=[{name: top_k, share: 0.01}]
    federation.links=[./mine.py:Mine]

Its hooks stand on both sides. Those of the client's side are called in the order of the list, those of the server's
side in the opposite one, as in a stack of protocols: what the client did last is what the server meets first. State is
never on `self`: a link has a memory for each client, and one at the server, and all of them are part of the checkpoint.

    @dataclass(frozen=True)
    class Halved(Link):
        def send(self, sending):
            sending.replace(0.5 * sending.change)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from fedlt.process import seeding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedlt.data.task import Task
    from fedlt.learner import Learner
    from fedlt.strategy import Client, Server, Strategy, Update

FLOAT = 32
"""Bits of a number that travels as it is."""


@dataclass(frozen=True)
class Setting:
    """The run that a link is part of, as every process knows it.

    Attributes:
        seed: the scenario's.
        sizes: [K] training samples of each client.
        cohort: clients that are sampled in a round.
        strategy, learner, task: whose updates pass.
        shared: S, numbers of the model that travel.
        trainable: T, the first of these, which are trained; the others are buffers.
        links: all of the run, in order.
        uniform: whether each cohort is as likely as any other.
    """

    seed: int
    sizes: NDArray[np.int64]
    cohort: int
    strategy: Strategy
    learner: Learner
    task: Task
    shared: int
    trainable: int
    links: tuple[Link, ...] = ()
    uniform: bool = True

    @property
    def clients(self) -> int:
        """K, the number of clients."""
        return len(self.sizes)

    @property
    def untrained(self) -> str | None:
        """Why a link that acts on the change of trained weights has no meaning; None where it has."""
        return None if self.trainable else "it acts on trained weights, and none travel; leave it out"


@dataclass
class Held:
    """An update of one client that the server holds back.

    Attributes:
        due: the round in which it arrives.
        update: its client's, with the change of the trained weights in place of the weights.
    """

    due: int
    update: Update


@dataclass
class Memory:
    """What a link keeps at the server between rounds.

    Attributes:
        state: tensors.
        outbox: tensors that its client half receives, in every round from the next one on.
        held: updates under way.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    outbox: dict[str, Tensor] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)


@dataclass
class Sending:
    """What one client is about to send.

    Attributes:
        client: as its strategy has left it; `client.start` [T] is what it began from.
        vector: [S] what it has found: trained weights, then buffers; it may be the model's own memory, so it is
            replaced, never edited in place.
        weight: of the client in the mean.
        state: what this link keeps for this client between rounds.
        received: what the link's server half sent with the model.
        sums: tensors that are added up over the clients on their way to the link's server half.
        numbers, bits, overhead: what the trained part costs on its way: so many numbers of so many bits, and further
            bytes.
        positions: [numbers] which of the T numbers travel; None: all of them, in order.
    """

    setting: Setting
    round: int
    client: Client
    vector: Tensor
    weight: float
    state: dict[str, Tensor] = field(default_factory=dict)
    received: dict[str, Tensor] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    numbers: int = 0
    bits: int = FLOAT
    overhead: int = 0
    positions: Tensor | None = None

    def __post_init__(self) -> None:
        self.numbers = self.setting.trainable

    @property
    def change(self) -> Tensor:
        """[T] by how much the trained weights differ from those that the client received."""
        return self.vector[: self.setting.trainable] - self.client.start

    def replace(self, change: Tensor) -> None:
        """Send another change [T] of the trained weights; buffers stay as they are."""
        self.vector = self.vector.clone()
        self.vector[: self.setting.trainable] = self.client.start + change

    @property
    def nbytes(self) -> int:
        """Bytes that the vector takes on its way."""
        buffers = self.setting.shared - self.setting.trainable
        return math.ceil(self.numbers * self.bits / 8) + self.overhead + buffers * FLOAT // 8

    def rng(self, purpose: str) -> np.random.Generator:
        """The generator of this client in this round, for one purpose, such as the link's name."""
        return seeding.generator(self.setting.seed, f"link {purpose}", self.round, self.client.id + 1)


@dataclass
class Arrival:
    """What has arrived at the server in a round, before the strategy aggregates it.

    Attributes:
        server: as strategies see it: `server.weights` [S] is the model that this round's clients began from,
            `server.cohort` those that were asked to train.
        sampled: the ids of the whole cohort, with those who did not take part.
        updates: of single clients, or sums over several; to be replaced.
        memory: of the link whose turn it is.
        sums: what its client half has sent, added up.
        columns: of the round table, by name; to be added to.
    """

    setting: Setting
    server: Server
    sampled: tuple[int, ...]
    updates: list[Update]
    memory: Memory = field(default_factory=Memory)
    sums: dict[str, Tensor] = field(default_factory=dict)
    columns: dict[str, float] = field(default_factory=dict)

    @property
    def round(self) -> int:
        """1-based."""
        return self.server.round

    def rng(self, purpose: str) -> np.random.Generator:
        """The server's generator of this round, for one purpose, such as the link's name."""
        return seeding.generator(self.setting.seed, f"link {purpose}", self.round)


@dataclass(frozen=True)
class Link:
    """Base of every link; as it stands, it changes nothing. Override the smallest thing that differs."""

    def obstacle(self, setting: Setting) -> str | None:
        """Why the link has no meaning in this run, as a sentence; None where it has."""
        strategy = type(setting.strategy).__name__
        if setting.strategy.scope == "centralized":
            return f"{strategy} has one site, from which nothing is sent"
        return None if setting.shared else f"{strategy} sends nothing to the server"

    def remarks(self, setting: Setting) -> Iterable[str]:
        """Lines that the run says at its start."""
        return ()

    def untested(self, setting: Setting) -> Collection[int]:
        """Clients whose personal models say nothing, and are not tested."""
        return ()

    def absent(self, setting: Setting, round: int, cohort: Sequence[int]) -> Collection[int]:
        """Those of the sampled clients that take no part in the round."""
        return ()

    def apart(self, setting: Setting, round: int, cohort: Sequence[int]) -> Collection[int]:
        """Those of the sampled clients whose updates `receive` must see one by one; others may be added up before."""
        return ()

    def prepare(self, setting: Setting, client: Client) -> None:
        """Before a client trains, and before a client without a state gets one."""

    def send(self, sending: Sending) -> None:
        """On the client's side, after it has trained. What is raised here is a failure of this client alone."""

    def check(self, client: Client, update: Update) -> None:
        """Raise where the weighted update, as it leaves the client, must not be averaged."""

    def setup(self, setting: Setting, memory: Memory) -> None:
        """At the server, before the first round."""

    def receive(self, arrival: Arrival) -> None:
        """On the server's side, in every round, also where nothing has arrived."""
