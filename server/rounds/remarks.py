"""What `fedlt check`, and a run at its start, say of the scenario: of inputs, model, links, strategy and server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlt.cohorts.chosen import cohort_size
from server.rounds.aggregation import strategy_remarks
from server.rounds.own_data import own_data_remarks

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.training.assembly import Assembly


def remarks_of(scenario: Scenario, federation: Federation, parts: Assembly) -> list[str]:
    """One line each.

    Raises:
        ScenarioError: where the strategy's own are no list of lines.
    """
    said = strategy_remarks(parts.strategy, cohort_size(scenario, len(federation.clients)))
    return [*parts.remarks(), *said, *own_data_remarks(scenario, federation, parts)]
