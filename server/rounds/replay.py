"""A run whose rounds another one has trained: their rows are told again, and their models tested by its own method."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from server.rounds.loop import Rounds
    from server.rounds.progress import Progress

FEW = 100
"""Clients whose kept tensors are in memory at once."""


class Trained(Protocol):
    """Rounds that were trained already, and their models."""

    def rows(self, after: int) -> Iterable[dict[str, Any]]:
        """Rows of the table of rounds after this one, in order."""

    def load(self, progress: Progress, round: int) -> None:
        """Make the progress that after this round, with a store of its own for what clients keep."""


def replay(rounds: Rounds, training: Trained) -> Progress:
    """All rounds after that of the progress, as `Rounds.run` tells them, then the evaluation of the last models."""
    progress, own = rounds.progress, rounds.progress.states
    every, total = rounds.scenario.evaluation.every, rounds.scenario.federation.rounds

    for row in training.rows(after=progress.round):
        done = progress.round
        if done and done % every == 0:
            training.load(progress, done)
            rounds.evaluate()
            progress.states.close()
        if row["round"] == total:
            training.load(progress, total)
            with closing(progress.states) as theirs:
                clients = theirs.clients()
                for start in range(0, len(clients), FEW):
                    own.update(theirs.read(clients[start : start + FEW]))
            progress.states = own
        progress.round = row["round"]
        rounds.on_round(row)

    rounds.evaluate()
    return progress
