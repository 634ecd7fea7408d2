"""Clients that are left out of a run (`federation.left_out`): they hold nothing, and no cohort has them.

Cohorts are drawn among all clients as ever, and those that are left out are then taken away: numbers, draws and data of
the others stay as they are, so that two runs differ by these clients alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fedlt.links.link import Link, Setting


@dataclass(frozen=True)
class LeftOut(Link):
    """clients: who is left out."""

    clients: tuple[int, ...]

    def obstacle(self, setting: Setting) -> None:
        """It has a meaning everywhere."""

    def untested(self, setting: Setting) -> Collection[int]:
        return self.clients

    def absent(self, setting: Setting, round: int, cohort: Sequence[int]) -> Collection[int]:
        """A centralized site goes through as many samples as its round's cohort holds, and has none of theirs."""
        return () if setting.strategy.scope == "centralized" else set(cohort).intersection(self.clients)
