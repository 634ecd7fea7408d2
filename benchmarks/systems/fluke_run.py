"""fluke (PyPI fluke-fl 0.8.1): its FedAvg classes on given clients, in one process.

Clients forget model and optimiser after a round (`persistency=False`), as those of the other systems do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.job import Job, Outcome
from benchmarks.workloads import CLASSES, build_model, cohort, planned, read


def run(job: Job) -> Outcome:
    """Train."""
    fit_torchvision()
    from fluke import DDict, FlukeENV
    from fluke.algorithms import CentralizedFL
    from fluke.client import Client
    from fluke.config import OptimizerConfigurator
    from fluke.data import FastDataLoader
    from fluke.server import Server

    workload = job.workload
    arrays = read(workload, job.data)
    pixels, labels = torch.from_numpy(arrays.pixels), torch.from_numpy(arrays.labels)
    scale, shift = torch.from_numpy(arrays.scale), torch.from_numpy(arrays.shift)
    finished: list[float] = []

    class GivenCohorts(Server):
        def get_eligible_clients(self, eligible_perc: float) -> Sequence[Any]:
            return [self.clients[client] for client in cohort(workload, len(finished) + 1)]

        def aggregate(self, *arguments: Any) -> None:
            super().aggregate(*arguments)
            finished.append(time.time())

    class Rounds(CentralizedFL):
        def finalize(self) -> None:
            """Leave out the last evaluation of all clients."""
            FlukeENV().close_cache()

    FlukeENV().set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
    optimizer = OptimizerConfigurator({"name": "SGD", "lr": workload.lr, "momentum": workload.momentum})
    clients = []
    for number, rows in enumerate(map(torch.from_numpy, arrays.clients)):
        data = FastDataLoader(
            pixels[rows],
            labels[rows],
            num_labels=CLASSES,
            batch_size=workload.batch_size,
            shuffle=True,
            transforms=lambda x: x.to(torch.float32).mul_(scale).add_(shift),
            skip_singleton=False,
        )
        clients.append(Client(number, data, None, optimizer, nn.CrossEntropyLoss(), workload.epochs, persistency=False))
    server = GivenCohorts(build_model(workload), None, clients, weighted=True)
    federation = Rounds(workload.clients, None, DDict(), clients=clients, server=server)
    federation.run(job.rounds, workload.cohort / workload.clients)
    weights = {name: value.numpy().copy() for name, value in server.model.state_dict().items()}
    return Outcome(finished, *planned(workload, arrays, job.rounds), weights)


def fit_torchvision() -> None:
    """PyPI's torchvision cannot load its binary beside a CPU-only torch; fluke imports it, and uses none of it here."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:  # some operators are registered even so, and only their declarations are missing
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
