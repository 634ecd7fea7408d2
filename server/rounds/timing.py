"""The simulated seconds of a round, and the clients that are too slow for it, where devices have a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fedlt.cohorts.clock import Spent, closing
from server.rounds.choosing import LOSS_BYTES

if TYPE_CHECKING:
    from fedlt.cohorts.timed import Timed
    from fedlt.exchange import Report
    from fedlt.links.chain import Fates
    from fedlt.strategy import Update
    from server.rounds.choosing import Choosing


class Timing:
    """Times the rounds of a run.

    Attributes:
        wanted: clients whose updates are enough to close a round.
    """

    def __init__(self, timed: Timed | None, choosing: Choosing, wanted: int) -> None:
        self.timed, self.choosing, self.wanted = timed, choosing, wanted

    def apart(self, fate: Fates) -> Fates:
        """The same fates; where some updates may come too late, none is added to others before they are here."""
        if self.timed is None or not self.timed.clock.closes:
            return fate
        return replace(fate, together=(), apart=fate.asked)

    def close(
        self, reports: Sequence[Report], sampled: Sequence[int], updates: list[Update]
    ) -> tuple[list[Update], dict[str, float]]:
        """The updates that came in time, and the columns of the round's row.

        Args:
            reports: of the workers.
            sampled: the round's clients.
            updates: all that came.
        """
        if self.timed is None:
            return updates, {}

        # Clients that told their loss have received the model already.
        asked = set(self.choosing.asked)
        answers = {
            client: self.timed.devices.seconds(client, Spent(0.0 if client in asked else down, backward, forward, up))
            for report in reports
            for client, (down, backward, forward, up) in report.spent.items()
        }

        end = closing(self.timed.clock, answers, len(sampled), self.wanted)
        in_time = [update for update in updates if end.late.isdisjoint(update.clients)]
        return in_time, {"simulated_seconds": self._asking() + end.seconds, "stragglers": len(end.late)}

    def _asking(self) -> float:
        """Seconds until the last of those that tell their loss has told it."""
        assert self.timed is not None
        choosing = self.choosing
        spent = (
            (client, Spent(choosing.received, 0.0, float(choosing.sizes[client]), LOSS_BYTES))
            for client in choosing.asked
        )
        return max((self.timed.devices.seconds(client, each) for client, each in spent), default=0.0)
