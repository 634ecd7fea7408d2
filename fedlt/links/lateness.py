"""Updates that arrive rounds after they were computed (`federation.late`): held by the server until they are due.

A late client trains as any other, from the model of its round, and what it keeps is kept at once. Its change of the
trainable weights is added to the model of the round in which it arrives, as in asynchronous training (Nguyen, Malik,
Zhan, Yousefpour, Rabbat, Malek, Huba: Federated Learning with Buffered Asynchronous Aggregation. AISTATS 2022):

    w_k' = w(now) + (w_k - w(then)),  with the weight  n_k * federation.late.weight  in the mean

Buffers (running statistics) come as they were sent; what a strategy sums (`client.extras`) is multiplied by the same
factor, and what stays apart (`client.values`) is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fedlt.links.dropout import chosen
from fedlt.links.link import Arrival, Held, Link, Setting
from fedlt.strategy import Update


@dataclass(frozen=True)
class Lateness(Link):
    """Sampled clients whose updates arrive rounds later.

    Attributes:
        chance: that a sampled client's update comes late.
        rounds: by which it is late.
        weight: its weight, times the usual; 0: it is discarded.
    """

    chance: float
    rounds: int = 1
    weight: float = 1.0

    def obstacle(self, setting: Setting) -> str | None:
        """Some strategies need every update in its round, and say why."""
        strategy = setting.strategy
        reason = f"{type(strategy).__name__} needs every update in its round: a late one would not fit what it keeps"
        return super().obstacle(setting) or (reason if "prompt_updates" in strategy.needs else None)

    def apart(self, setting: Setting, round: int, cohort: Sequence[int]) -> set[int]:
        """Those who are late."""
        return chosen(setting.seed, "late", round, cohort, self.chance)

    def receive(self, arrival: Arrival) -> None:
        """Keep the updates that came in time, hold the late ones, and let those of earlier rounds arrive."""
        late = self.apart(arrival.setting, arrival.round, arrival.sampled)
        weights, trainable, memory = arrival.server.weights, arrival.setting.trainable, arrival.memory
        due = arrival.round + self.rounds
        slow = [update for update in arrival.updates if update.clients[0] in late]
        if self.weight:
            memory.held += [hold(update, weights, trainable, due, self.weight) for update in slow]

        arrived = [arrive(held, weights, trainable) for held in memory.held if held.due == arrival.round]
        memory.held = [held for held in memory.held if held.due > arrival.round]
        arrival.updates = [update for update in arrival.updates if update.clients[0] not in late] + arrived
        arrival.columns |= {"late": len(late.intersection(arrival.server.cohort)), "arrived": len(arrived)}


def hold(update: Update, weights: Tensor, trainable: int, due: int, factor: float) -> Held:
    """An update of one client that is kept for a later round, with the weighted change in its trainable part.

    Args:
        update: as it has arrived.
        weights: [S] from which the client began.
        trainable: T, the first of these, which are trained.
        due: the round in which it arrives.
        factor: of its weight, for being late.
    """
    total = update.total.clone()
    total[:trainable] -= update.weight * weights[:trainable]
    sums = {name: value * factor for name, value in update.sums.items()}
    values = {name: value.clone() for name, value in update.values.items()}
    return Held(due, Update(update.clients, update.weight * factor, total * factor, sums, values))


def arrive(held: Held, weights: Tensor, trainable: int) -> Update:
    """A kept update as if its client had begun from the present weights.

    Args:
        held: what `hold` gave; its total is changed in place.
        weights: [S] of the model now.
        trainable: T, the first of these, which are trained.
    """
    update = held.update
    update.total[:trainable] += update.weight * weights[:trainable]
    return update
