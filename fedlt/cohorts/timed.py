"""The clock of a scenario, created: its devices are looked at before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlt.cohorts.clock import Clock, Devices
from fedlt.config.hook_names import misused
from fedlt.config.hook_results import given, name_of
from fedlt.config.own_lines import before_work
from fedlt.errors import HookError, Problem, ScenarioError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedlt.config.scenario import Scenario
    from fedlt.strategy import Strategy

KEY = "federation.clock"


@dataclass(frozen=True, eq=False)
class Timed:
    """A clock, and the devices that it tells of."""

    clock: Clock
    devices: Devices

    def asked(self, wanted: int) -> int:
        """How many clients are asked to train where so many answers are wanted."""
        further = math.ceil(self.clock.over * wanted - 1e-9)
        return min(len(self.devices.samples), wanted + further)


def timed(scenario: Scenario, strategy: Strategy, sizes: NDArray[np.int64], shared: int) -> Timed | None:
    """The scenario's clock; None where it has none.

    Args:
        shared: numbers of the model that travel.

    Raises:
        ScenarioError: where it has no meaning in the run.
    """
    choice = scenario.federation.clock
    if choice is None:
        return None
    clock: Clock = choice.create()
    name = scenario.strategy.name
    problems = list(misused(clock, Clock))
    if strategy.scope == "centralized":
        problems.append(f"{name} has one site, and no clients' devices; remove the clock")
    elif not shared and clock.closes:
        problems.append(f"{name} sends nothing to the server, for which a round might close; remove deadline and over")
    elif reason := clock.obstacle(len(sizes)):
        problems.append(reason)
    if problems:
        raise ScenarioError([Problem(KEY, text) for text in problems])

    hook = name_of((clock, "devices"))
    with before_work(KEY, hook):
        return Timed(clock, _expect_devices(clock.devices(sizes, scenario.seed), hook, len(sizes)))


def _expect_devices(found: object, name: str, clients: int) -> Devices:
    """The devices, in arrays that cannot be written to.

    Args:
        found: what the clock gave.
        name: of the hook, for messages.
        clients: their number.

    Raises:
        HookError: unless each client has numbers above 0.
    """
    if not isinstance(found, Devices):
        raise HookError(f"{name} gave {given(found)}; return fedlt.Devices(samples, down, up)")
    kept = []
    for what in ("samples", "down", "up"):
        values: Any = np.array(getattr(found, what), dtype=np.float64)
        if values.shape != (clients,) or not (np.isfinite(values).all() and (values > 0).all()):
            raise HookError(f"{name} gave {what} that are not {clients} numbers above 0, one for each client")
        values.flags.writeable = False
        kept.append(values)
    return Devices(*kept)
