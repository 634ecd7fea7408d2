"""An estimate of what a run will take, by doing a little of it. Flower is reached from here, by late imports."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fedlt.sweeps.grids import Grids, worker_count
from fedlt.sweeps.run import pick_backend

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.results.estimate import Estimate
    from fedlt.training.assembly import Assembly


def rehearse(scenario: Scenario, federation: Federation, parts: Assembly) -> Estimate:
    """Time and memory of a run of the scenario on this machine, of whose work a few seconds are done.

    Raises what the run would raise: `ClientError` where a client fails.
    """
    from fedlt.nn.cost import multiply_adds
    from server.estimate import estimate

    alone = pick_backend(scenario, federation, parts) == "inline"
    workers = 1 if alone else worker_count(scenario)
    with Grids() as grids:
        inline = partial(grids.get, "inline", federation=federation)
        return estimate(inline, scenario, federation, parts, workers, multiply_adds(parts.model, parts.task.inputs))
