"""Data of the server's own, for strategies that declare the need: with labels, without them, and to choose by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.data.server_unlabelled import of_file
from fedlt.data.site import Rows
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.strategy import Server
    from fedlt.training.assembly import Assembly


def own_data_remarks(scenario: Scenario, federation: Federation, parts: Assembly) -> list[str]:
    """Lines that a run says at its start: what the server holds of its own."""
    file = scenario.data.server_unlabelled.file
    texts = {
        "auxiliary_set": f"{counted(len(federation.auxiliary), 'sample')} with labels",
        "server_unlabelled": f"{file or counted(len(federation.server_unlabelled), 'sample')} without labels",
    }
    said = [text for need, text in texts.items() if need in parts.strategy.needs]
    return [f"at the server: {' and '.join(said)}"] if said else []


def give_own_data(server: Server, scenario: Scenario, federation: Federation, parts: Assembly) -> None:
    """Fill the server's boxes of data with what its strategy needs; none of them has a view of anybody else's.

    Args:
        server: whose boxes are filled.
        scenario, federation, parts: of the run.

    Raises:
        ScenarioError: for a file that cannot be read.
    """
    needs, validation = parts.strategy.needs, federation.validation

    def rows(x: NDArray[Any], y: Tensor) -> Rows:
        """Rows at the server, opened on its device."""
        device = server.weights.device
        inputs = parts.task.inputs.open(x, device)
        return Rows(inputs, y.to(device), torch.arange(len(y), device=device))

    if "auxiliary_set" in needs:
        own = federation.auxiliary
        server.auxiliary = rows(federation.x_train[own], federation.train_targets.take(own))

    if "server_validation" in needs and validation is not None and validation.size:
        server.validation = rows(
            federation.x_train[validation.rows[: validation.size]], validation.targets.take()[: validation.size]
        )

    if "server_unlabelled" in needs:
        config = scenario.data.server_unlabelled
        given = config.file is not None
        x = (
            of_file(config, federation.inputs, scenario.seed)
            if given
            else federation.x_train[federation.server_unlabelled]
        )
        unknown = torch.tensor(parts.task.target.unknown)
        server.unlabelled = rows(x, unknown.expand(len(x), *federation.y_train.shape[1:]))
