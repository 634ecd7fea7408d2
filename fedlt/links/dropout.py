"""Sampled clients that never answer (`federation.dropout`): nothing of them changes, nothing arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedlt.links.link import Arrival, Link, Setting
from fedlt.process import seeding


@dataclass(frozen=True)
class Dropout(Link):
    """Sampled clients that drop out of a round.

    Attributes:
        chance: that a sampled client takes no part in the round.
    """

    chance: float

    def obstacle(self, setting: Setting) -> str | None:
        """Clients that send nothing may drop out, too."""
        return super().obstacle(setting) if setting.strategy.scope == "centralized" else None

    def absent(self, setting: Setting, round: int, cohort: Sequence[int]) -> set[int]:
        return chosen(setting.seed, "dropout", round, cohort, self.chance)

    def receive(self, arrival: Arrival) -> None:
        arrival.columns["dropped"] = len(self.absent(arrival.setting, arrival.round, arrival.sampled))


def chosen(seed: int, purpose: str, round: int, cohort: Sequence[int], chance: float) -> set[int]:
    """Those of the cohort whom a fault meets: one draw for each client, whatever other faults there are.

    Args:
        seed: the scenario's.
        purpose: of the draws, a word that keeps the faults apart.
        round: from 1 on.
        cohort: ids, in the order of the draws.
        chance: of each client, in 0..1.
    """
    drawn = seeding.generator(seed, purpose, round).random(len(cohort)) < chance
    return {client for client, taken in zip(cohort, drawn, strict=True) if taken}
