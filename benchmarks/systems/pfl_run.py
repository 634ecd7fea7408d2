"""pfl (Apple, pfl-research 0.6.0): FederatedAveraging on the simulated backend, weighted by datapoints.

One process with PyTorch's threads, or several under torchrun, each with a share of the cohort (by size, as pfl
offers it). pfl averages trainable parameters only: running statistics of batch normalisation stay those of the last
client of each process. It does not shuffle within a user, so a user's rows are shuffled when they are gathered.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.job import Job, Outcome
from benchmarks.workloads import Workload, build_model, cohort, planned, read

torch.distributed.reduce_op = torch.distributed.ReduceOp  # type: ignore[assignment]  # its old name, which pfl uses


def run(job: Job) -> Outcome | None:
    """Train; None in the processes beside the first."""
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.aggregate.weighting import WeightByDatapoints
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.pytorch import PyTorchTensorDataset
    from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    workload = job.workload
    arrays = read(workload, job.data)
    pixels, labels = torch.from_numpy(arrays.pixels), torch.from_numpy(arrays.labels)
    scale, shift = torch.from_numpy(arrays.scale), torch.from_numpy(arrays.shift)
    shuffle = np.random.default_rng(workload.seed)

    def user(client: int) -> Any:
        rows = torch.from_numpy(shuffle.permutation(arrays.clients[client]))
        x = pixels[rows].to(torch.float32).mul_(scale).add_(shift)
        return PyTorchTensorDataset((x, labels[rows]), user_id=str(client))

    finished: list[float] = []

    class Clock(TrainingProcessCallback):
        def after_central_iteration(self, *arguments: Any, **keywords: Any) -> tuple[bool, Any]:
            finished.append(time.time())
            return False, Metrics()

    network = _Model(build_model(workload))
    sizes = dict(enumerate(arrays.clients.sizes.tolist()))
    dataset = FederatedDataset(user, functools.partial(next, _clients(workload)), sizes)
    model = PyTorchModel(
        network,
        functools.partial(torch.optim.SGD, momentum=workload.momentum),
        torch.optim.SGD(network.parameters(), lr=1.0),
    )
    evaluation = NNEvalHyperParams(local_batch_size=256)
    training = NNTrainHyperParams(
        local_batch_size=workload.batch_size, local_num_epochs=workload.epochs, local_learning_rate=workload.lr
    )
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=job.rounds,
            evaluation_frequency=job.rounds,  # in the first iteration only, which pfl insists on
            train_cohort_size=workload.cohort,
            val_cohort_size=0,
        ),
        SimulatedBackend(dataset, dataset, [WeightByDatapoints()]),
        model,
        training,
        evaluation,
        [Clock()],
        send_metrics_to_platform=False,
    )
    if os.environ.get("RANK", "0") != "0":
        return None
    weights = {name: value.numpy().copy() for name, value in network.net.state_dict().items()}
    return Outcome(finished, *planned(workload, arrays, job.rounds), weights)


class _Model(nn.Module):
    """The network with the two methods that pfl asks for."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        self.net.train()
        return F.cross_entropy(self.net(x), y)

    @torch.no_grad()
    def metrics(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        from pfl.metrics import Weighted

        self.net.eval()
        return {"loss": Weighted(F.cross_entropy(self.net(x), y, reduction="sum").item(), len(y))}


def _clients(workload: Workload) -> Iterator[int]:
    """The clients of round after round, without end."""
    round = 1
    while True:
        yield from cohort(workload, round)
        round += 1
