"""Who trains in a round: the scenario's selection asked, and what it takes to answer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.cohorts import chosen
from fedlt.cohorts.selection import Pool
from fedlt.exchange import Work
from fedlt.process import seeding
from server.rounds.failures import at_server
from server.rounds.schedule import Unit

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.training.assembly import Assembly

LOSS_BYTES, COUNT_BYTES = 8, 8
"""Bytes of a loss, and of a number of samples, on the way to the server."""

Ask = Callable[[list[Unit]], dict[int, float]]
"""Lets clients test the generic model on their own samples: the mean losses of those that answer, by client."""


class Choosing:
    """Chooses the cohorts of a run.

    Attributes:
        asked: the clients that were asked for their loss before the cohort was chosen last.
        received: bytes that each of them was sent.
    """

    def __init__(self, scenario: Scenario, federation: Federation, parts: Assembly) -> None:
        self.selection, self.seed = parts.selection, scenario.seed
        self.sizes, self.block = _sealed(federation.clients.sizes), scenario.federation.block
        self.devices = None if parts.timed is None else parts.timed.devices
        wanted = chosen.cohort_size(scenario, len(self.sizes))
        self.size = wanted if parts.timed is None else parts.timed.asked(wanted)
        counted = "class_counts" in self.selection.needs
        self.counts = _sealed(federation.client_counts()) if counted else None
        self.asked: list[int] = []
        self.received = 0

    def cohort(self, round: int, ask: Ask) -> list[int]:
        """The clients that are to train in a round, in ascending order."""
        pool = self._pool(round)
        with at_server(round):
            self.asked = chosen.asked(self.selection, pool)
        if self.asked:
            pool.losses.update(ask(self.units(self.asked)))
        with at_server(round):
            return chosen.cohort(self.selection, pool)

    def units(self, clients: Sequence[int]) -> list[Unit]:
        """One for each block of those that tell their loss."""
        blocks = [list(clients[start : start + self.block]) for start in range(0, len(clients), self.block)]
        return [Unit(Work(losses=block), float(self.sizes[block].sum())) for block in blocks]

    def columns(self, round: int, trained: Sequence[int]) -> dict[str, int]:
        """What the choice adds to the columns of a round's row.

        Counts of classes travel once, before the first round.

        Args:
            trained: those that went on to train, who receive the model once.
        """
        beside = len(set(self.asked) - set(trained))
        counts = self.counts.size * COUNT_BYTES if self.counts is not None and round == 1 else 0
        return {
            "forward_samples": int(self.sizes[self.asked].sum()) if self.asked else 0,
            "bytes_down": beside * self.received,
            "bytes_up": len(self.asked) * LOSS_BYTES + counts,
        }

    def _pool(self, round: int) -> Pool:
        """What a selection may know of the clients in a round."""
        rng = seeding.generator(self.seed, "cohort", round)
        return Pool(round, self.size, self.sizes, rng, self.counts, devices=self.devices)


def _sealed(array: NDArray[np.int64]) -> NDArray[np.int64]:
    """The array in a form that cannot be written to: selections see it in every round."""
    view = array.view()
    view.flags.writeable = False
    return view
