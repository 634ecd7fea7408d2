"""The worker that a process hosts: that of the scenario whose jobs it gets, with its data."""

from __future__ import annotations

from typing import Any

from clients.worker import Worker
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.data.provenance import in_short, refuse_edited_code, refuse_others

_workers: dict[str, Worker] = {}


def install(scenario: Scenario, federation: Federation) -> None:
    """Give this process a scenario and its data, so that it need not load them when the first job comes."""
    refuse_edited_code(federation.made_of, scenario)
    _workers.clear()
    _workers[scenario.hash] = Worker(scenario, federation)


def worker_for(key: str, content: dict[str, Any], inputs: str = "") -> Worker:
    """The worker of the scenario with that hash; built from the scenario's content where there is none.

    Args:
        inputs: digest of the files that the run is made of, as the server knows them; empty: any.
    """
    if key not in _workers or inputs not in ("", in_short(_workers[key].context.federation.made_of)):
        scenario = load_scenario(content)
        federation = federate(scenario)
        refuse_others(inputs, federation.made_of)
        _workers.clear()
        _workers[key] = Worker(scenario, federation)
    return _workers[key]
