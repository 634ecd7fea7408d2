"""What a run will take, from the rounds of a few of its clients and an evaluation, which are done and forgotten.

The work is what the round loop would send, in its own units, to a worker in this process. What is large is cut: clients
train a few steps, and models are tested on a few rows. Seconds are then scaled by the units' costs
(`server.rounds.schedule`), and dealt to as many workers as the run will have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from fedlt.exchange import UNION, Work
from fedlt.process.memory import high_water
from fedlt.results.estimate import Estimate
from server.rounds.loop import Rounds
from server.rounds.schedule import Unit, deal, train_units
from server.state.states import StateStore

if TYPE_CHECKING:
    from flwr.serverapp import Grid

    from fedlt.config.scenario import Scenario
    from fedlt.config.sections import Local
    from fedlt.data.federation import Federation
    from fedlt.training.assembly import Assembly

QUICK = 2e10
"""Multiply-adds of a worker's second: a cautious guess, which only says what is small enough to be done as a whole."""

SECONDS = 3.0
"""That the timed training, and the timed evaluation, may take by that guess."""

VISITS = 2000
"""Tests of clients on rows that are tested anyway, up to which an evaluation is timed as a whole."""

FEW, MANY = 4, 104
"""Clients in the pieces of a larger one, by which the time of a client is told from that of the rows."""

SITES = 3
"""Clients that train; the first one warms up."""

COHORTS = 5
"""Rounds whose cohorts say how much there is to train in one."""


def estimate(
    open_grid: Callable[[Scenario], Grid],
    scenario: Scenario,
    federation: Federation,
    parts: Assembly,
    workers: int,
    multiply_adds: int,
) -> Estimate:
    """Time and memory of a run.

    Raises what the run would raise, such as `ClientError` where a client fails.

    Args:
        open_grid: gives a grid of one worker in this process, which holds the federation's data.
        workers: that the run will have.
        multiply_adds: of a sample's way through the model.
    """
    room = SECONDS * QUICK / max(1, multiply_adds)  # forward passes of one sample
    local, rounds, every = scenario.local, scenario.federation.rounds, scenario.evaluation.every
    with high_water() as water:
        with _opened(open_grid, scenario, federation, parts) as loop:
            evaluation, tested = _evaluation(loop, room, scenario.evaluation.batch_size, workers)
            models = len(loop.evaluated)
            trained = _round(loop, workers)
            sites, shorter, steps = _sites(loop, local, room)

        with _opened(open_grid, replace(scenario, local=shorter), federation, parts) as loop:
            loop.rehearse(1, sites[:1])
            timed = sites[1:] or sites
            pace = loop.rehearse(2, timed) / _cost(timed)

    return Estimate(
        rounds=rounds, round=trained * pace, evaluations=(rounds - 1) // every + 1, evaluation=evaluation,
        every=every, models=models, workers=workers, clients=len(timed), steps=steps, tested=tested,
        held=water.before, copies=water.peak - water.before,
    )  # fmt: skip


@contextmanager
def _opened(
    open_grid: Callable[[Scenario], Grid], scenario: Scenario, federation: Federation, parts: Assembly
) -> Iterator[Rounds]:
    """The round loop of a run that writes nothing and tells nobody."""
    with TemporaryDirectory() as folder, closing(StateStore(Path(folder) / "states")) as states:
        yield Rounds(open_grid(scenario), scenario, federation, parts, states, _ignore, _ignore, _ignore)


def _ignore(_: object) -> None:
    """Nobody listens to what is forgotten."""


def _evaluation(loop: Rounds, room: float, chunk: int, workers: int) -> tuple[float, float]:
    """Seconds of an evaluation, and the share of it that was timed.

    Where it costs more than `room`, or tests many clients, it is the beginning of one unit of each kind: a chunk of
    rows, with few clients and with many, and the models of two clients.
    """
    units = loop.evaluation_units()
    if not units:
        return 0.0, 1.0
    visits = sum(len(unit.work.personal) for unit in units)
    whole = _cost(units) <= room and visits <= VISITS
    paces: dict[bool, float] = {}
    visit, tested = 0.0, 0.0  # seconds of one more client on rows that are tested anyway

    for kind in sorted({_by_clients(unit) for unit in units}):
        mine = [unit for unit in units if _by_clients(unit) == kind]
        pieces = mine if whole else [_beginning(unit, chunk, FEW) for unit in mine[: 2 if kind else 1]]
        loop.rehearse(1, pieces[:1])  # libraries are loaded, memory is claimed
        seconds = loop.rehearse(2, pieces)
        paces[kind] = seconds / _cost(pieces)
        tested += _cost(pieces)

        if not whole and not kind and (clients := len(mine[0].work.personal)) > FEW:
            longer = loop.rehearse(3, [_beginning(mine[0], chunk, MANY)])
            visit = max(0.0, (longer - seconds) / (min(MANY, clients) - FEW))

    def took(unit: Unit) -> float:
        more = 0 if whole or _by_clients(unit) else max(0, len(unit.work.personal) - FEW)
        return unit.cost * paces[_by_clients(unit)] + more * visit

    seconds = max((sum(map(took, bundle)) for bundle in deal(units, workers)), default=0.0)
    return seconds, tested / _cost(units)


def _beginning(unit: Unit, chunk: int, most: int) -> Unit:
    """A chunk of a unit's rows with so many of its clients at most, or one of the clients that it tests as a whole."""
    work = unit.work
    if _by_clients(unit):
        some = work.personal[:1]
        return Unit(Work(personal=some), unit.cost * len(some) / len(work.personal), some)
    some = work.personal[:most]
    rows = min(chunk, int(unit.cost))
    start = work.span[0] if work.span else 0
    span = (start, start + rows) if work.span else None
    return Unit(replace(work, chunks=work.chunks[:1], personal=some, span=span), float(rows), some)


def _by_clients(unit: Unit) -> bool:
    """Whether a unit of an evaluation tests whole clients, and not rows of a set."""
    return bool(unit.work.personal) and unit.work.span is None


def _round(loop: Rounds, workers: int) -> float:
    """What the busiest worker has to train in a round, as a cost; a mean over some rounds."""
    costs = []
    for number in range(1, min(COHORTS, loop.scenario.federation.rounds) + 1):
        bundles = deal(loop.expected_units(number), workers)
        costs.append(max(map(_cost, bundles), default=0.0))
    return fmean(costs)


def _sites(loop: Rounds, local: Local, room: float) -> tuple[list[Unit], Local, int | None]:
    """Clients of about the usual size whose training is timed, the local work that they do, and of how many steps it
    is; None: a whole round.

    The one site of a centralized run passes once over a part of its samples.
    """
    sizes = loop.sizes
    if loop.parts.strategy.scope == "centralized":
        samples = int(min(sizes.sum(), max(2 * local.batch_size, room / 6)))
        site = Unit(Work(blocks={0: [UNION]}, samples=samples), 3.0 * samples, [UNION])
        return [site, site], replace(local, epochs=1, steps=None), -(-samples // local.batch_size)

    present = np.flatnonzero(sizes > 0)
    by_size = present[np.argsort(sizes[present], kind="stable")]
    places = np.linspace(0, len(by_size) - 1, SITES + 2).round().astype(int)[1:-1]
    clients = list(dict.fromkeys(by_size[places].tolist()))
    whole = [unit for client in clients for unit in train_units([client], sizes, 1, local.epochs)]
    if (_cost(whole) <= room and local.steps is None) or local.together > 1:
        return whole, local, None

    steps = max(2, int(room / (3 * len(clients) * local.batch_size)))
    steps = steps if local.steps is None else min(steps, local.steps)
    cut = [Unit(unit.work, 3.0 * steps * local.batch_size, unit.clients) for unit in whole]
    return cut, replace(local, steps=steps), steps


def _cost(units: Sequence[Unit]) -> float:
    return sum(unit.cost for unit in units)
