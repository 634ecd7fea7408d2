"""Local: no server. Every client trains a model of its own, from one common initialisation.

A client works in the rounds in which it is sampled, so that its local work equals that under any other strategy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from fedlt.strategy import Server, Strategy, Update


@dataclass(frozen=True)
class Local(Strategy):
    """Everything is private; nothing is sent, nothing is averaged, there is no generic model."""

    private: ClassVar[tuple[str, ...]] = ("*",)
    scope: ClassVar[str] = "personal"

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Nothing to do."""
