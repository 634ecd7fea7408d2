"""The links of a run, one after the other: made from the scenario, and called by clients and server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from fedlt.errors import Problem, ScenarioError
from fedlt.learner import overrides
from fedlt.links.attack import Attack
from fedlt.links.dropout import Dropout
from fedlt.links.finite import Finite
from fedlt.links.lateness import Lateness
from fedlt.links.left_out import LeftOut
from fedlt.links.link import Arrival, Link, Memory, Sending, Setting

if TYPE_CHECKING:
    from fedlt.config.component import Choice
    from fedlt.config.scenario import Scenario
    from fedlt.strategy import Client, Server, Update

PREFIX = "link/"
"""What names of links' tensors begin with, where they ride with others': `link/PLACE/NAME`."""

COUNTS = ("dropped", "late", "arrived", "attackers")
"""Columns that every round table has, whatever the links."""


@dataclass(frozen=True)
class Fates:
    """What becomes of a round's cohort; ids in ascending order.

    Attributes:
        together: whose updates may be added up before the server sees them.
        apart: whose may not.
        absent: who takes no part.
    """

    together: tuple[int, ...]
    apart: tuple[int, ...]
    absent: tuple[int, ...]

    @property
    def asked(self) -> tuple[int, ...]:
        """Those that train."""
        return tuple(sorted(self.together + self.apart))


class Chain:
    """The links of a run.

    Args:
        links: each with the key of the scenario that asks for it.
        setting: the run.
    """

    def __init__(self, links: Sequence[tuple[str, Link]], setting: Setting) -> None:
        self.keys = tuple(key for key, _ in links)
        self.links = tuple(link for _, link in links)
        self.setting = replace(setting, links=self.links)

    @classmethod
    def of(cls, scenario: Scenario, setting: Setting) -> Chain:
        """The links that a scenario asks for.

        Raises:
            ScenarioError: for those that have no meaning in it.
        """
        federation = scenario.federation
        attack, late = federation.attack, federation.late
        links: list[tuple[str, Link]] = [("federation.on_error", Finite())]
        if attack.kind != "none":
            named = None if attack.clients is None else tuple(attack.clients)
            links.append(("federation.attack", Attack(attack.kind, attack.share, named, attack.factor)))
        if federation.left_out:
            links.append(("federation.left_out", LeftOut(tuple(federation.left_out))))
        if federation.dropout:
            links.append(("federation.dropout", Dropout(federation.dropout)))
        links += [_created(f"federation.links.{place}", choice) for place, choice in enumerate(federation.links)]
        if late.chance:
            weight = 1.0 if late.weight is None else late.weight
            links.append(("federation.late", Lateness(late.chance, late.rounds or 1, weight)))

        chain = cls(links, setting)
        chain.expect_meaning()
        return chain

    def expect_meaning(self) -> None:
        """Raise `ScenarioError` that lists the links which this run would not notice, or in which they mean nothing."""
        reasons = [(key, link.obstacle(self.setting)) for key, link in zip(self.keys, self.links, strict=True)]
        problems = [Problem(key, reason) for key, reason in reasons if reason]
        if problems:
            raise ScenarioError(problems)

    def remarks(self) -> list[str]:
        """Lines that the run says at its start."""
        return [line for link in self.links for line in link.remarks(self.setting)]

    @property
    def untested(self) -> tuple[int, ...]:
        """Clients whose personal models are not tested, in ascending order."""
        return tuple(sorted({client for link in self.links for client in link.untested(self.setting)}))

    def fates(self, round: int, cohort: Sequence[int]) -> Fates:
        """What becomes of the sampled clients of a round, whose ids ascend."""
        absent = {client for link in self.links for client in link.absent(self.setting, round, cohort)}
        apart = {client for link in self.links for client in link.apart(self.setting, round, cohort)} - absent
        together = tuple(client for client in cohort if client not in absent and client not in apart)
        return Fates(together, tuple(sorted(apart)), tuple(sorted(absent)))

    # The client's side ------------------------------------------------------------------------------------------------

    def prepare(self, client: Client) -> None:
        """Before the client trains."""
        for link in self.links:
            link.prepare(self.setting, client)

    def send(
        self,
        round: int,
        client: Client,
        vector: Tensor,
        weight: float,
        kept: Mapping[str, Tensor],
        received: Mapping[str, Tensor],
    ) -> Sending:
        """What the client sends of its vector [S], and what its links keep: `sums` and `state` have all links' tensors.

        Args:
            kept, received: what they kept after its last round, and what came with the model, by `link/PLACE/NAME`;
                what else there is, is looked over.
        """
        sending = Sending(self.setting, round, client, vector, weight)

        states, sums = dict[str, Tensor](), dict[str, Tensor]()
        for place, link in enumerate(self.links):
            if not overrides(link, Link.send):
                continue

            # Each link sees its own tensors alone, under the names that it gave them.
            sending.state = {name: value.to(vector.device) for name, value in _of(place, kept).items()}
            sending.received, sending.sums = _of(place, received), {}

            link.send(sending)
            _expect_sound(link, sending, vector)

            states |= _named(place, sending.state)
            sums |= _named(place, sending.sums)

        sending.state, sending.received, sending.sums = states, {}, sums
        return sending

    def check(self, client: Client, update: Update) -> None:
        """Raise where what leaves the client must not be averaged."""
        for link in self.links:
            link.check(client, update)

    # The server's side ------------------------------------------------------------------------------------------------

    def begin(self) -> list[Memory]:
        """What the links keep at the server before the first round."""
        memories = [Memory() for _ in self.links]
        for link, memory in zip(self.links, memories, strict=True):
            link.setup(self.setting, memory)
        return memories

    @staticmethod
    def outbox(memories: Sequence[Memory]) -> dict[str, Tensor]:
        """What clients receive for their links."""
        return {
            name: value for place, memory in enumerate(memories) for name, value in _named(place, memory.outbox).items()
        }

    def receive(
        self, server: Server, sampled: Sequence[int], updates: list[Update], memories: Sequence[Memory]
    ) -> Arrival:
        """The round as the strategy gets it: its updates, and further columns of the round table.

        The links see it in the reverse of the order in which they sent.

        Args:
            server: as strategies see it, before they aggregate.
            sampled: ids of the whole cohort, with those who did not take part.
            updates: that have arrived, of single clients or sums over several.
            memories: of the links, in their order.
        """
        arrival = Arrival(self.setting, server, tuple(sampled), updates, columns=dict.fromkeys(COUNTS, 0))
        for place, link in reversed(list(enumerate(self.links))):
            arrival.memory, arrival.sums = memories[place], _taken(place, arrival.updates)
            link.receive(arrival)
        return arrival


def _created(key: str, choice: Choice) -> tuple[str, Link]:
    """A link of the scenario's list with its key, under which what its constructor refuses is told."""
    try:
        return key, choice.create()
    except ScenarioError as error:
        raise ScenarioError([Problem(key, problem.message) for problem in error.problems]) from error


def _expect_sound(link: Link, sending: Sending, vector: Tensor) -> None:
    """Raise where a link has left something that cannot be added up or kept."""
    name = type(link).__name__
    if sending.vector.shape != vector.shape:
        raise ValueError(f"{name} changed the vector's shape from {[*vector.shape]} to {[*sending.vector.shape]}")
    for what, tensors in (("state", sending.state), ("sums", sending.sums)):
        for key, value in tensors.items():
            if not isinstance(value, Tensor):
                kind = type(value).__name__
                raise TypeError(f"{name}: {what}[{key!r}] is of type {kind}; links keep and send tensors only")


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is none of the links', and what is."""
    theirs = {name: value for name, value in tensors.items() if name.startswith(PREFIX)}
    return {name: value for name, value in tensors.items() if name not in theirs}, theirs


def _taken(place: int, updates: Sequence[Update]) -> dict[str, Tensor]:
    """The sums that the clients' halves of a link have sent, taken out of the updates and added up."""
    total: dict[str, Tensor] = {}
    for update in updates:
        for name, value in _of(place, update.sums).items():
            del update.sums[f"{PREFIX}{place}/{name}"]
            total[name] = total[name] + value if name in total else value
    return total


def _named(place: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{PREFIX}{place}/{name}": value for name, value in tensors.items()}


def _of(place: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{PREFIX}{place}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
