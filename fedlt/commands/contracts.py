"""What `fedlt check` prints of the contract checks of a scenario's own parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlt.checks.own_parts import examine
from fedlt.errors import FedLTError

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.task import Task


def check_contracts(scenario: Scenario, task: Task, everything: bool = False) -> list[str]:
    """Lines about what holds, part by part.

    Args:
        task: of the assembled run.
        everything: also the parts that are built in.

    Raises:
        FedLTError: with all that does not.
    """
    held: list[str] = []
    broken: list[str] = []
    for outcome in examine(scenario, task, everything):
        (broken if outcome.problems else held).extend(outcome.lines())
    if broken:
        raise FedLTError("\n".join([*broken, "the checks stop at the first that fails; mend these and look again"]))
    return held
