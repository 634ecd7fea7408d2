"""Faults that a scenario asks for: clients that never answer, that answer rounds later, or that lie.

Who fails and when is a function of the scenario's seed alone. What a machine does to a run is another matter; that
changes no result.

    federation.dropout   a sampled client does not take part in the round: nothing of it changes, nothing arrives
    federation.late      its change of the weights arrives rounds later, and is then made to the model of that round
    federation.attack    a client sends other weights than it has found, or learns from other labels than it has
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedlt.errors import Problem, ScenarioError
from fedlt.process import seeding

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from fedlt.config.scenario import Scenario
    from fedlt.strategy import Strategy

FACTORS = {"sign_flip": 1.0, "scaled": 10.0}
"""Attacks on the weights, and how large the false change is where the scenario does not say it."""


@dataclass(frozen=True)
class Fates:
    """What becomes of a round's cohort; ids in ascending order."""

    prompt: tuple[int, ...]
    late: tuple[int, ...]
    dropped: tuple[int, ...]


def fates(scenario: Scenario, round: int, cohort: Sequence[int]) -> Fates:
    """One draw for each client and each fault, so that more of one fault does not change who meets the other."""
    chances = scenario.federation.dropout, scenario.federation.late.chance
    gone, slow = (
        seeding.generator(scenario.seed, purpose, round).random(len(cohort)) < chance
        for purpose, chance in zip(("dropout", "late"), chances, strict=True)
    )

    def those(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(client for client, taken in zip(cohort, chosen, strict=True) if taken)

    return Fates(those(~gone & ~slow), those(~gone & slow), those(gone))


def attackers(scenario: Scenario, clients: int) -> tuple[int, ...]:
    """The ids of those that attack, ascending. Raises `ScenarioError` where one is named that is not there."""
    attack = scenario.federation.attack
    if attack.clients is not None:
        strange = sorted(client for client in attack.clients if not 0 <= client < clients)
        if strange:
            message = f"expected ids of 0..{clients - 1}, got {', '.join(map(str, strange))}"
            raise ScenarioError(Problem("federation.attack.clients", message))
        return tuple(sorted(set(attack.clients)))
    if attack.share is None:
        return ()
    count = max(1, int(attack.share * clients + 0.5))
    rng = seeding.generator(scenario.seed, "attackers")
    return tuple(sorted(rng.choice(clients, count, replace=False).tolist()))


@dataclass(frozen=True)
class Attackers:
    """What the attacking clients of a federation do. factor: by which their change of the weights is multiplied."""

    kind: str
    factor: float
    clients: frozenset[int]

    @staticmethod
    def of(scenario: Scenario, clients: int) -> Attackers:
        """Those of a scenario with so many clients."""
        attack = scenario.federation.attack
        factor = FACTORS.get(attack.kind, 1.0) if attack.factor is None else attack.factor
        signed = -factor if attack.kind == "sign_flip" else factor
        return Attackers(attack.kind, signed, frozenset(attackers(scenario, clients)))

    def flips(self, client: int) -> bool:
        """Whether the client learns from false labels: class C - 1 - c in place of c."""
        return self.kind == "label_flip" and client in self.clients

    def sent(self, client: int, shared: Tensor, start: Tensor) -> Tensor:
        """[S] what the client sends in place of the `shared` vector that it has found, beginning from `start` [T]."""
        if self.kind not in FACTORS or client not in self.clients:
            return shared
        lie = shared.clone()
        lie[: len(start)] = start + self.factor * (shared[: len(start)] - start)
        return lie


def expect_meaning(scenario: Scenario, strategy: Strategy, clients: int, shared: int) -> None:
    """Refuse faults that a strategy would not notice, or that have no meaning in it. Raises `ScenarioError`.

    shared: how many numbers of the model travel.
    """
    settings, kind = scenario.federation, type(strategy).__name__
    attack = settings.attack.kind
    asked = {"dropout": settings.dropout > 0, "late": settings.late.chance > 0, "attack": attack != "none"}
    if strategy.union:
        meaningless, reason = {"dropout", "late", "attack"}, f"{kind} has one site, which neither fails nor lies"
    elif not shared:
        meaningless = {"late", "attack"} if attack in FACTORS else {"late"}
        reason = f"{kind} sends nothing to the server"
    else:
        meaningless = {"late"} if strategy.prompt else set()
        reason = f"{kind} needs every update in its round: {strategy.prompt}"
    refused = [key for key, wanted in asked.items() if wanted and key in meaningless]
    if refused:
        raise ScenarioError([Problem(f"federation.{key}", reason) for key in refused])
    attackers(scenario, clients)
