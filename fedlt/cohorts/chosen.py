"""The selection of a scenario, created and asked: what it gives is looked at before anybody is sent anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from fedlt.cohorts.selection import Pool, Selection
from fedlt.cohorts.uniform import Uniform
from fedlt.config.declarations import misspelt
from fedlt.config.hook_names import misused
from fedlt.config.hook_results import given
from fedlt.errors import HookError, Problem, ScenarioError

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.strategy import Strategy

KEY = "federation.selection"


def cohort_size(scenario: Scenario, clients: int) -> int:
    """How many of so many clients are sampled in each round."""
    return max(1, int(scenario.federation.participation * clients + 0.5))


def selection_of(scenario: Scenario, strategy: Strategy, clients: int, size: int) -> Selection:
    """The scenario's selection.

    Args:
        size: clients of a cohort.

    Raises:
        ScenarioError: where it has no meaning here.
    """
    choice = scenario.federation.selection
    selection: Selection = choice.create()
    words = [*misspelt(selection), *misused(selection, Selection)]
    problems = [f"{type(selection).__name__}: {text}" for text in words]

    name = scenario.strategy.name
    if isinstance(selection, Uniform):
        pass
    elif strategy.scope == "centralized":
        problems.append(f"{name} has one site, and {choice.title} chooses among clients; take uniform")
    elif strategy.scope == "personal" and "local_loss" in selection.needs:
        problems.append(f"{choice.title} asks for the loss of a generic model, and {name} has none; take another one")
    elif reason := selection.obstacle(clients, size):
        problems.append(reason)
    if problems:
        raise ScenarioError([Problem(KEY, text) for text in problems])
    return selection


def asked(selection: Selection, pool: Pool) -> list[int]:
    """The clients that tell their loss, in ascending order.

    Raises:
        HookError: for what names no clients.
    """
    name = f"{type(selection).__name__}.ask"
    found = _clients(selection.ask(pool), pool, name)
    if found and "local_loss" not in selection.needs:
        remedy = 'write needs: ClassVar[tuple[str, ...]] = ("local_loss",) in the class'
        raise HookError(f"{name} names clients whose loss the class does not declare to need; {remedy}")
    return found


def cohort(selection: Selection, pool: Pool) -> list[int]:
    """The clients that train, in ascending order.

    Raises:
        HookError: for what names no clients, or too many.
    """
    name = f"{type(selection).__name__}.choose"
    found = _clients(selection.choose(pool), pool, name)
    if not 1 <= len(found) <= pool.size:
        what = f"{len(found)} clients" if found else "nobody"
        raise HookError(f"{name} gave {what}; give 1 to {pool.size} of them (pool.size)")
    return found


def _clients(found: object, pool: Pool, name: str) -> list[int]:
    """Different numbers in 0..K-1, in ascending order.

    Args:
        found: what a selection gave.
        pool: of the clients to choose from.
        name: of the hook, for messages.
    """
    expected = f"give a list of different whole numbers in 0..{pool.clients - 1}"
    numbers = list(found) if isinstance(found, Iterable) and not isinstance(found, str | dict) else None
    if numbers is None or not all(isinstance(each, int | np.integer) for each in numbers):
        raise HookError(f"{name} gave {given(found)}; {expected}")
    clients = sorted({int(each) for each in numbers})
    if len(clients) < len(numbers) or (clients and not 0 <= clients[0] <= clients[-1] < pool.clients):
        raise HookError(f"{name} gave {sorted(int(each) for each in numbers)}; {expected}")
    return clients
