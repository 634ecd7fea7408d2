"""Centralized: one site holds the union of all clients' data; the yardstick of every federated method.

Equal work: in each round the site processes as many samples as the round's cohort would, in shuffled passes over the
union. Personal figures test this one model on the clients' own test sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlt.strategy import Strategy


@dataclass(frozen=True)
class Centralized(Strategy):
    """One site, one model; the 'mean' over one update is that update."""

    scope: ClassVar[str] = "centralized"
