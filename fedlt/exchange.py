"""What server and workers say to each other: one exchange a round.

A `Job` names blocks of clients to train and models to evaluate, its `Report` answers both. How they lie in Flower's
records is told in `server.records`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fedlt.statistic import Arrays
from fedlt.strategy import Update

States = dict[int, dict[str, Tensor]]
"""What clients keep, or receive each for itself, by client and name."""

UNION = -1
"""The id of the one site that holds all clients' data."""

GENERIC = -2
"""Stands for the generic model where a failure names a client."""


@dataclass
class Work:
    """A piece of a round that one worker does as a whole.

    Attributes:
        blocks: clients to train, by block number.
        samples: training samples of the union's one site (0: train clients).
        chunks: pieces of the global test set for the generic model.
        personal: clients whose models are tested; `span` limits them to the test rows from the first to before the
            second number (None: all rows of theirs, of the test and of the validation set).
        validation: whether chunks and span are of the validation set instead.
        losses: clients that tell the generic model's loss on their training samples.
        conclude: whether the blocks are not trained, but asked for what the strategy's `conclude` finds.
    """

    blocks: dict[int, list[int]] = field(default_factory=dict)
    samples: int = 0
    chunks: list[int] = field(default_factory=list)
    personal: list[int] = field(default_factory=list)
    span: tuple[int, int] | None = None
    validation: bool = False
    losses: list[int] = field(default_factory=list)
    conclude: bool = False


@dataclass
class Job:
    """A message to a worker.

    Attributes:
        scenario: as `Scenario.to_dict` gives it.
        shared: [S].
        states: of the clients it names.
        letters: to these clients.
        cost: of its works, for the schedule alone.
        inputs: digest of the files that the run is made of; empty: any.
    """

    scenario: dict[str, Any]
    key: str
    round: int
    works: list[Work]
    shared: Tensor
    outbox: dict[str, Tensor] = field(default_factory=dict)
    states: States = field(default_factory=dict)
    letters: States = field(default_factory=dict)
    cost: float = 1.0
    inputs: str = ""


@dataclass
class Failure:
    """A client that raised, took too long, or returned something that must not be averaged.

    Attributes:
        client: `GENERIC` where it is the generic model that could not be tested.
        reason: what happened, in which hook and line.
        purpose: what it failed in, "select", "train", "conclude", "evaluate" or "generic".
        memory: whether the machine had no memory left for it.
    """

    client: int
    reason: str
    traceback: str = ""
    purpose: str = "train"
    memory: bool = False


@dataclass
class Report:
    """A worker's answer.

    Attributes:
        updates: by block number.
        losses: of clients that were asked for the generic model's.
        spent: of clients that trained, where devices have a clock: bytes down, samples passed forward and backward,
            those passed forward only, bytes up.
        statistics: what was measured, by the statistic's name and the tested model's (`fedlt.statistic.Subject.key`).
        apart: why clients that `local.together` would train in one step were trained one by one; empty where none were.
    """

    updates: dict[int, list[Update]] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)
    spent: dict[int, list[float]] = field(default_factory=dict)
    states: States = field(default_factory=dict)
    statistics: dict[tuple[str, str], Arrays] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    apart: str = ""
