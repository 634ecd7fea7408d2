"""The exchange after the last round, for strategies that ask all clients once more about the finished generic model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlt.exchange import UNION
from fedlt.learner import overrides
from fedlt.process import seeding
from fedlt.strategy import Strategy
from server.rounds.aggregation import expect_boxes
from server.rounds.failures import at_server
from server.rounds.schedule import Unit, train_units

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.exchange import Report
    from fedlt.strategy import Update
    from fedlt.training.assembly import Assembly
    from server.rounds.failures import Failures
    from server.rounds.progress import Progress

COUNTED = ("bytes_down", "bytes_up", "forward_samples", "backward_samples", "train_seconds", "move_seconds")
"""Columns of the round table to which it adds."""


class Loop(Protocol):
    """What it takes of the loop over the rounds."""

    scenario: Scenario
    parts: Assembly
    progress: Progress
    failures: Failures
    sizes: NDArray[np.int64]

    def send(self, units: list[Unit]) -> list[Report]: ...

    def take(self, reports: Sequence[Report]) -> list[Update]: ...


def close(rounds: Loop, round: int) -> dict[str, float]:
    """Ask every client, and let the server take what they send. What it adds to the columns of the last round."""
    strategy, progress = rounds.parts.strategy, rounds.progress
    if not overrides(strategy, Strategy.conclude):
        return {}
    server = progress.server
    units = _units(rounds)
    server.round, server.cohort = round, tuple(client for unit in units for client in unit.clients)
    server.rng = seeding.generator(rounds.scenario.seed, "concluded", round)
    reports = rounds.send(units)
    rounds.failures.settle(round, reports)

    updates = rounds.take(reports)
    if updates:
        with at_server(round):
            strategy.concluded(server, updates)
            expect_boxes(server)
            progress.separate()
    progress.open_ended = False  # more rounds would go on from before it
    return {name: sum(report.metrics.get(name, 0.0) for report in reports) for name in COUNTED}


def _units(rounds: Loop) -> list[Unit]:
    """One for each block of all clients; the one site of a centralized run."""
    sizes, settings = rounds.sizes, rounds.scenario.federation
    asked = [client for client in range(len(sizes)) if client not in settings.left_out]
    units = train_units(asked, sizes, settings.block, epochs=1)
    if rounds.parts.strategy.scope == "centralized":
        units = units[:1]
        units[0].work.blocks, units[0].clients = {0: [UNION]}, [UNION]
    for unit in units:
        unit.work.conclude = True
    return units
