"""A strategy around another one: it holds that one in a field, hands every hook on to it, and overrides what differs.

    @dataclass(frozen=True)
    class Sleepy(Wrapping):
        chance: float = 0.1  # that a client sends what it received

        def fit(self, client):
            if client.rng.random() >= self.chance:
                super().fit(client)

`strategy={name: ./sleepy.py:Sleepy, inside: fedloge}`, or with its fields, `inside: {name: fedloge, norm: 1.0}`. What
the wrapped one declares (private and frozen parameters, scope, needs, ...) holds for both together, as does what it
keeps at clients and server; names that the outer one keeps should begin with its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor

from fedlt.config.reader import chosen
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.learner import Logits
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Strategy, Update


@dataclass(frozen=True)
class Wrapping(Strategy):
    """As it stands, it is the strategy inside. A hook that is overridden calls `super()` where that one's is meant."""

    inside: Annotated[Strategy, "strategy"] = "fedavg"  # type: ignore[assignment]  # the method that it changes: a name, or a name and its fields

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "loss" in vars(cls) and cls.fit is Wrapping.fit:
            reason = f"{cls.__name__}.loss would never be asked, since the strategy inside trains by its own"
            raise TypeError(f"{reason}; override fit, and call client.train(self.loss) there")

    def __post_init__(self) -> None:
        """Class variables become those of the two together."""
        if not isinstance(self.inside, Strategy):
            object.__setattr__(self, "inside", chosen("strategy", self.inside, "inside").create())
        own, inner = type(self), self.inside
        together = {
            "private": _union(own.private, inner.private),
            "frozen": _union(own.frozen, inner.frozen),
            "needs": _union(own.needs, inner.needs),
            "foldable": own.foldable and inner.foldable,
            "scope": inner.scope if own.scope == Strategy.scope else own.scope,
            "learner_parts": tuple(part for part in inner.learner_parts if part in own.learner_parts),
        }
        for name, value in together.items():
            object.__setattr__(self, name, value)

    def obstacle(self, model: Net, task: Task) -> str | None:
        return self.inside.obstacle(model, task)

    def build(self, model: Net, task: Task) -> None:
        self.inside.build(model, task)

    def remarks(self, cohort: int) -> Iterable[str]:
        return self.inside.remarks(cohort)

    def setup(self, server: Server) -> None:
        self.inside.setup(server)

    def begin(self, client: Client) -> None:
        self.inside.begin(client)

    def fit(self, client: Client) -> None:
        self.inside.fit(client)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """For a `fit` that trains by itself: the one inside asks for its own."""
        return self.inside.loss(client, batch)

    def weight(self, client: Client) -> float:
        return self.inside.weight(client)

    def adapt(self, client: Client) -> None:
        self.inside.adapt(client)

    def personal(self, client: Client, x: Tensor) -> Logits:
        return self.inside.personal(client, x)

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        self.inside.aggregate(server, updates)

    def conclude(self, client: Client) -> None:
        self.inside.conclude(client)

    def concluded(self, server: Server, updates: Iterable[Update]) -> None:
        self.inside.concluded(server, updates)

    def generic(self, server: Server, x: Tensor) -> Logits:
        return self.inside.generic(server, x)

    def generic_at(self, client: Client, x: Tensor) -> Logits:
        """What the generic model that the client has received predicts, as the one inside predicts by it."""
        served = Server(client.model, client.flat, client.task, outbox=client.received, learner=client.learner)
        return self.inside.generic(served, x)


def layers(strategy: Strategy) -> Iterator[Strategy]:
    """The strategy, then the one inside it, and so on."""
    yield strategy
    if isinstance(strategy, Wrapping):
        yield from layers(strategy.inside)


def answering(part: Any, hook: str) -> Any:
    """The part whose own hook answers: of a wrapping that only hands it on, the strategy inside."""
    while isinstance(part, Wrapping) and getattr(type(part), hook) is getattr(Wrapping, hook):
        part = part.inside
    return part


def _union(own: tuple[str, ...], inner: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*inner, *own)))
