"""The model of a finished run, in a worker that has its data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from safetensors.torch import load_file
from torch import Tensor

from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.inputs import Inputs
from fedlt.results.runs import Run


def trained(run: Run) -> Worker:
    """A worker on the CPU whose model is the run's last generic one, in evaluation mode."""
    scenario = load_scenario(run.folder / "scenario.yaml", ["resources.device=cpu"])
    worker = Worker(scenario, federate(scenario))
    for name, tensor in load_file(run.folder / "model.safetensors").items():
        worker.context.flat.tensors[name].copy_(tensor)
    worker.context.flat.stepped()
    worker.context.model.eval()
    return worker


@torch.no_grad()
def passed(of: Callable[[Tensor], Tensor], inputs: Inputs, rows: Tensor) -> Tensor:
    """What `of` makes of the inputs at `rows`, 256 at a time, side by side in the first dimension."""
    return torch.cat([of(inputs.take(part)) for part in rows.split(256)])
