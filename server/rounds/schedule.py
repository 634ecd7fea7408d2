"""Cuts a round into units of work and spreads them. What is summed together never depends on who computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.exchange import Work

SHORTEST, LONGEST = 0.02, 0.25
"""Seconds that a message should keep a worker busy, at least and at most."""

EVALUATION_PARTS = 4  # pieces of a set of rows; part of the result's definition, as rows are evaluated together

MODEL_GROUPS = 64
"""Groups, at most, of clients whose models are tested as a whole: each alone, so that no result depends on them."""


@dataclass
class Unit:
    """The smallest piece that moves as a whole.

    Attributes:
        cost: forward passes of one sample.
    """

    work: Work
    cost: float
    clients: list[int] = field(default_factory=list)


def train_units(cohort: Sequence[int], sizes: NDArray[np.int64], block: int, epochs: int, first: int = 0) -> list[Unit]:
    """One unit for each block of consecutive clients of the (sorted) cohort, the blocks being numbered from `first`.

    Args:
        cohort: ids, ascending.
        sizes: [K] training samples of all clients.
        block: clients of a unit at most; a part of the result's definition.
        epochs: passes over a client's samples.
        first: number of the first block.
    """
    units = []
    for number, start in enumerate(range(0, len(cohort), block), first):
        clients = list(cohort[start : start + block])
        cost = 3.0 * epochs * float(sizes[clients].sum())  # a backward pass costs about two forward passes
        units.append(Unit(Work(blocks={number: clients}), cost, clients))
    return units


def evaluation_units(
    num_rows: int, chunk: int, generic: bool, clients: Sequence[int], costs: NDArray[Any], shared: bool
) -> list[Unit]:
    """Units for the generic model and for the personal models of `clients`.

    Args:
        costs: [K] of testing each client's model as a whole, in forward passes of one sample.
        shared: whether all models have the same backbone. Then each part of the test set passes it once, for all models
            together; else each personal model is tested as a whole. The cuts are the same for any number of workers.
    """
    units = _set_units(num_rows, num_rows, chunk, generic, clients if shared else [])
    if shared or not len(clients):
        return units

    # With backbones of their own, each client's model is tested as a whole.
    for group in np.array_split(np.asarray(clients), min(MODEL_GROUPS, len(clients))):
        whole = Work(personal=group.tolist())
        units.append(Unit(whole, float(costs[group].sum()), whole.personal))
    return units


def validation_units(
    num_rows: int, size: int, chunk: int, generic: bool, clients: Sequence[int], shared: bool
) -> list[Unit]:
    """The same for the validation set, of whose rows the generic model is tested on the first `size`.

    Personal models that are tested as a whole need no unit of their own: those of the test set cover both sets.

    Args:
        num_rows: of the set, clients' own rows included.
        size: rows that the generic model is tested on.
        chunk: rows of a forward pass.
        generic: whether there is a generic model.
        clients: whose models are tested.
        shared: whether all models have the same backbone.
    """
    units = _set_units(num_rows if shared else size, size, chunk, generic, clients if shared else [])
    for unit in units:
        unit.work.validation = True
    return units


def cost_of_adapting(units: Sequence[Unit], sizes: NDArray[np.int64], measured: Sequence[Mapping[str, float]]) -> float:
    """What each training sample adds to the cost of testing its client's model: some strategies fine-tune it before.

    Args:
        units: of an exchange that trained, which says how long a forward pass takes, and tested.
        sizes: [K] of the clients.
        measured: the reports' metrics.
    """
    training, adapting = (
        sum(metrics.get(name, 0.0) for metrics in measured) for name in ("train_seconds", "adapt_seconds")
    )
    trained = sum(unit.cost for unit in units if unit.work.blocks)
    tested = float(sizes[[client for unit in units for client in unit.work.personal]].sum())
    return adapting / training * trained / tested if training and tested else 0.0


def _set_units(num_rows: int, size: int, chunk: int, generic: bool, clients: Sequence[int]) -> list[Unit]:
    """A set's rows in a few parts; in each the generic model on the rows below `size`, and `clients` on their own.

    Args:
        num_rows: of the set.
        size: rows that the generic model is tested on.
        chunk: rows of a forward pass.
        generic: whether there is a generic model.
        clients: tested on their own rows of each part.
    """
    chunks = -(-num_rows // chunk)
    units = []

    for part in np.array_split(np.arange(chunks), max(1, min(EVALUATION_PARTS, chunks))):
        if not len(part):
            continue
        rows = (int(part[0]) * chunk, min((int(part[-1]) + 1) * chunk, num_rows))
        work = Work(chunks=[index for index in part.tolist() if index * chunk < size] if generic else [])

        if len(clients):
            work.personal, work.span = list(clients), rows
        if work.chunks or work.personal:
            units.append(Unit(work, float(rows[1] - rows[0]), work.personal))
    return units


def deal(units: Sequence[Unit], workers: int) -> list[list[Unit]]:
    """The units in a bundle for each worker, by longest processing time first: bundles of about equal cost.

    In each bundle the longest unit comes first. No bundle is empty.
    """
    loads = [0.0] * workers
    bundles: list[list[Unit]] = [[] for _ in range(workers)]
    for unit in sorted(units, key=lambda unit: -unit.cost):
        least = min(range(workers), key=loads.__getitem__)
        loads[least] += unit.cost
        bundles[least].append(unit)
    return [bundle for bundle in bundles if bundle]


def in_order(bundle: Sequence[Unit]) -> list[Unit]:
    """The units of one message, evaluation first, then by client.

    Of clients that fail, each worker then meets its first one, so that the run tells of the first of all, whoever
    computes it.
    """
    return sorted(
        bundle, key=lambda unit: (min(unit.work.blocks, default=-1), unit.clients[:1] or unit.work.losses[:1])
    )


def cut(bundle: Sequence[Unit], pace: float | None) -> list[list[Unit]]:
    """A bundle in pieces that travel apart: each half of what is left, within `SHORTEST` and `LONGEST`.

    Each piece costs about as much as a small client, but when one worker ends its bundle, another may be in the middle
    of a piece. So the last ones are small.

    Args:
        pace: expected seconds for a cost of one; None: the bundle is taken to last one.
    """
    cost = sum(unit.cost for unit in bundle)
    pace = 1 / (cost or 1.0) if pace is None else pace
    left = pace * cost  # seconds
    room, pieces = 0.0, list[list[Unit]]()
    for unit in bundle:
        if room <= pace * unit.cost / 4:
            room = min(LONGEST, max(SHORTEST, left / 2))
            pieces.append([])
        pieces[-1].append(unit)
        room -= pace * unit.cost
        left -= pace * unit.cost
    return pieces
