"""Stock Flower in the way of its PyTorch quickstart: the client builds its model, a DataLoader and an optimiser for
every message, and the whole state dict travels. Two clients run at a time, one core each.

Flower samples nodes that it names at random; here the server names the clients in the messages, so that the cohorts
are those of the other systems.
"""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.job import Job, Outcome
from benchmarks.workloads import Arrays, Workload, build_model, cohort, read

CORES = 2


def run(job: Job) -> Outcome:
    """Simulate the job's rounds with `flwr.simulation.run_simulation`."""
    from flwr.simulation import run_simulation

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # as for FedLT: equal priority with the server
    logging.getLogger("flwr").setLevel(logging.ERROR)
    strategy = _Timed(job.workload)
    weights = {}
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        initial = ArrayRecord(build_model(job.workload).state_dict())
        config = ConfigRecord({"workload": pickle.dumps(job.workload), "data": str(job.data)})
        result = strategy.start(grid, initial, num_rounds=job.rounds, train_config=config)
        weights.update({name: value.numpy() for name, value in result.arrays.to_torch_state_dict().items()})

    backend = {
        "init_args": {"num_cpus": CORES, "include_dashboard": False},
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    }
    run_simulation(server, client, job.workload.clients, backend_config=backend)  # type: ignore[arg-type]
    return Outcome(strategy.finished, strategy.images, strategy.steps, weights)


class _Timed(FedAvg):
    """FedAvg on the given cohorts; notes when its rounds end."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(fraction_evaluate=0.0)
        self.workload = workload
        self.finished: list[float] = []
        self.images: list[int] = []
        self.steps: list[int] = []

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        chosen = cohort(self.workload, server_round)
        while len(nodes := sorted(grid.get_node_ids())) < self.workload.clients:
            time.sleep(0.1)
        for client in chosen:
            named = ConfigRecord({**config, "client": client})
            content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: named})
            yield Message(content, nodes[client], "train")

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        answers = list(replies)
        if errors := [answer.error.reason for answer in answers if answer.has_error()]:
            raise RuntimeError(f"{len(errors)} clients failed; the first: {errors[0]}")
        result = super().aggregate_train(server_round, answers)
        metrics = [answer.content.metric_records["metrics"] for answer in answers]
        self.images.append(sum(int(metric["images"]) for metric in metrics))  # type: ignore[arg-type]
        self.steps.append(sum(int(metric["steps"]) for metric in metrics))  # type: ignore[arg-type]
        self.finished.append(time.time())
        return result


client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """One client's round."""
    config = message.content.config_records["config"]
    workload, arrays = _task(config["workload"], config["data"])  # type: ignore[arg-type]
    torch.set_num_threads(1)
    model = build_model(workload)
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    data = _data(arrays, int(config["client"]))  # type: ignore[arg-type]
    loader = DataLoader(data, batch_size=workload.batch_size, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.lr, momentum=workload.momentum)
    model.train()

    steps = 0
    for _ in range(workload.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            steps += 1

    metrics = MetricRecord({"num-examples": len(data), "images": workload.epochs * len(data), "steps": steps})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


def _data(arrays: Arrays, number: int) -> TensorDataset:
    """A client's images, standardised, and labels."""
    rows = arrays.clients[number]
    pixels = torch.from_numpy(arrays.pixels[rows]).to(torch.float32)
    return TensorDataset(pixels * arrays.scale + arrays.shift, torch.from_numpy(arrays.labels[rows]))


@cache
def _task(workload: bytes, data: str) -> tuple[Workload, Arrays]:
    """The workload and its data, read once in each process."""
    unpickled: Workload = pickle.loads(workload)
    return unpickled, read(unpickled, Path(data))
