"""Nothing that is not finite reaches the mean: an update is looked at as it leaves, and sums of them as they arrive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedlt.errors import FedLTError
from fedlt.links.link import Arrival, Link, Setting
from fedlt.nn.flat import is_finite
from fedlt.strategy import Client, Update


@dataclass(frozen=True)
class Finite(Link):
    """Part of every run. A client's failure is told as any other one; sums that overflow end the run."""

    def obstacle(self, setting: Setting) -> None:
        """It has a meaning everywhere."""

    def check(self, client: Client, update: Update) -> None:
        """Refuse what is not finite, before it is kept or sent.

        Args:
            client: whose private weights are looked at, too.
            update: with the weighted sum, the extras and the values that it would send.

        Raises:
            ValueError: for a weight that is negative or not finite.
            FloatingPointError: for weights, extras and values that are not finite.
        """
        if not math.isfinite(update.weight) or update.weight < 0:
            raise ValueError(f"expected a finite weight >= 0, got {update.weight}")
        if not (is_finite(update.total) and is_finite(client.flat.private)):
            raise FloatingPointError("the trained weights are not finite; a smaller local.lr may help")
        for what, tensors in (("extras", update.sums), ("values", update.values)):
            for name, value in tensors.items():
                if not is_finite(value):
                    raise FloatingPointError(f"client.{what}[{name!r}] is not finite")

    def receive(self, arrival: Arrival) -> None:
        expect_finite(arrival.round, arrival.updates)


def expect_finite(round: int, updates: Sequence[Update]) -> None:
    """Each client's update is finite, or it would not be here; the sums of many may still be too large."""
    for update in updates:
        if not all(is_finite(t) for t in (update.total, *update.sums.values())):
            clients = ", ".join(map(str, update.clients))
            raise FedLTError(f"the updates of clients {clients} in round {round} are too large to be added up")
