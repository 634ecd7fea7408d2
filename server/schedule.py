"""Cuts a round into units of work and spreads them. What is summed together never depends on who computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.messages import Work

GENERIC_CHUNKS = 4  # chunks of the test set in one unit of work


@dataclass
class Unit:
    """The smallest piece that moves as a whole. cost: forward passes of one sample."""

    work: Work
    cost: float
    clients: list[int] = field(default_factory=list)


def train_units(round: int, cohort: Sequence[int], sizes: NDArray[np.int64], block: int, epochs: int) -> list[Unit]:
    """One unit for each block of consecutive clients of the (sorted) cohort."""
    units = []
    for number, start in enumerate(range(0, len(cohort), block)):
        clients = list(cohort[start : start + block])
        cost = 3.0 * epochs * float(sizes[clients].sum())  # a backward pass costs about two forward passes
        units.append(Unit(Work(round, blocks={number: clients}), cost, clients))
    return units


def evaluation_units(
    round: int, num_chunks: int, chunk: int, clients: Sequence[int], sizes: NDArray[np.int64], parts: int
) -> list[Unit]:
    """Units for the generic model (ranges of chunks) and for personal models (`parts` groups of neighbours)."""
    units = []
    for start in range(0, num_chunks, GENERIC_CHUNKS):
        chunks = list(range(start, min(start + GENERIC_CHUNKS, num_chunks)))
        units.append(Unit(Work(round, chunks=chunks), float(len(chunks) * chunk)))
    for group in np.array_split(np.asarray(clients, dtype=np.int64), max(1, min(parts, len(clients)))):
        if len(group):
            units.append(Unit(Work(round, personal=group.tolist()), float(sizes[group].sum()), group.tolist()))
    return units


def spread(units: list[Unit], bundles: int) -> list[Unit]:
    """At most `bundles` units of about equal cost, the longest first: each goes to the least loaded so far."""
    loads = [0.0] * bundles
    merged: list[Unit | None] = [None] * bundles
    for unit in sorted(units, key=lambda unit: -unit.cost):
        slot = min(range(bundles), key=loads.__getitem__)
        loads[slot] += unit.cost
        held = merged[slot]
        merged[slot] = unit if held is None else _join(held, unit)
    return sorted((unit for unit in merged if unit is not None), key=lambda unit: -unit.cost)


def _join(a: Unit, b: Unit) -> Unit:
    work = Work(
        a.work.round,
        {**a.work.blocks, **b.work.blocks},
        a.work.images or b.work.images,
        a.work.chunks + b.work.chunks,
        a.work.personal + b.work.personal,
    )
    return Unit(work, a.cost + b.cost, a.clients + b.clients)
