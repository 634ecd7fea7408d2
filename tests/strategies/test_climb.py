"""CLIMB: multipliers and weighted steps against NumPy, and whom it favours on skewed clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import fedlt
from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.results.runs import Run
from fedlt.strategy import Server, Update
from strategies.climb import CLIMB

pytestmark = pytest.mark.slow

LOSSES = np.array([[0.5, 2.0, 0.8], [0.4, 1.5, 3.0]])  # of the cohorts (0, 1, 3) and (0, 1, 2)
COHORTS = [[0, 1, 3], [0, 1, 2]]
ENDS = np.array([[[1.0, 2.0], [-1.0, 0.0], [0.0, 0.5]], [[2.0, 2.0], [0.0, 1.0], [3.0, -1.0]]])


def test_two_rounds_of_multipliers_and_steps(make_client: Any) -> None:
    """Four clients; the second round's weights are 1 + lambda_k - mean(lambda) over all four."""
    net = Net(nn.Identity(), nn.Linear(2, 1, bias=False), 2)
    server = Server(net, Flat(net), Task("single", 2, (2,), np.ones(2, np.int64)), num_clients=4)
    server.weights = torch.tensor([1.0, 1.0])
    strategy, w, dual = CLIMB(dual_lr=2.0, tolerance=0.1), np.array([1.0, 1.0]), np.zeros(4)
    strategy.setup(server)
    for cohort, losses, ends in zip(COHORTS, LOSSES, ENDS, strict=True):
        updates = []
        for k, loss, end in zip(cohort, losses.astype(np.float32), ends, strict=True):
            client = make_client(Net(nn.Identity(), nn.Linear(2, 2), 2), [[0, 0]], [0], Local(), id=k)
            client.received = server.outbox
            weight = strategy.weight(client)
            total = weight * torch.tensor(end, dtype=torch.float32)
            updates.append(Update((k,), weight, total, values={"loss": torch.tensor([loss])}))
        strategy.aggregate(server, updates)
        w = w + ((1 + dual - dual.mean())[cohort, None] * (ends - w)).mean(0)
        dual[cohort] = np.maximum(dual[cohort] + 2.0 * (losses - losses.mean() - 0.1) / 4, 0)
        assert np.allclose(server.weights.numpy(), w, atol=1e-6)
        assert np.allclose(server.state["multipliers"].numpy(), dual, atol=1e-6)
    assert dual[1] > 0 and dual[2] > dual[1] and dual[0] == dual[3] == 0


def test_factors_are_never_negative_and_buffers_stay_within_those_of_the_clients() -> None:
    net = Net(nn.Identity(), nn.Linear(2, 1, bias=False), 2)
    net.register_buffer("variance", torch.ones(1))
    server = Server(net, Flat(net), Task("single", 2, (2,), np.ones(2, np.int64)), num_clients=4)
    strategy = CLIMB()
    strategy.setup(server)
    server.state["multipliers"][0] = 50
    ends, loss = torch.tensor([[1.0, 1.0, 0.1], [2.0, 2.0, 0.2]]), torch.tensor([3.0, 0.0])
    strategy.aggregate(server, [Update((0, 1), 5.0, 4.0 * ends[0] + ends[1], values={"loss": loss})])
    assert server.outbox["factors"].tolist()[1:] == [0, 0, 0]
    assert torch.isclose(server.weights[2], torch.tensor((4 * 0.1 + 0.2) / 5))


@pytest.mark.parametrize(("losses", "batches"), [("means", 1), ("sums", 13)])
def test_the_loss_is_that_of_the_received_model_on_own_samples(
    make_client: Any, losses: Literal["means", "sums"], batches: int
) -> None:
    """The client has 700 samples, the mean client 620: 13 batches of 50, the last one smaller."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(700, 3)).astype(np.float32), rng.integers(2, size=700)  # three chunks, the last one smaller
    net = Net(nn.Identity(), nn.Linear(3, 2), 3)
    client = make_client(net, x, y, Local(epochs=1, batch_size=50, lr=0.5))
    with torch.no_grad():
        expected = F.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y))
    client.received = {"mean_size": torch.tensor([620.0])}
    CLIMB(losses=losses).fit(client)
    assert torch.allclose(client.values["loss"], batches * expected, rtol=1e-5)


def client_losses(run: Run, scenario: dict[str, Any]) -> list[float]:
    """Each client's cross-entropy on its training samples under the run's final model."""
    worker = Worker(load_scenario(scenario), federate(load_scenario(scenario)))
    worker.context.model.load_state_dict(load_file(run.folder / "model.safetensors"))
    worker.context.model.eval()
    losses = []
    for number in range(6):
        rows = torch.from_numpy(worker.context.federation.clients[number])
        with torch.no_grad():
            logits = worker.context.model(worker.context.train_inputs.take(rows))
        losses.append(F.cross_entropy(logits, worker.context.train_targets[rows]).item())
    return losses


def test_the_worst_clients_loss_is_nearer_to_the_mean_than_without_multipliers(tiny: Any, tmp_path: Path) -> None:
    """A client of mean size has 3 batches, so that a step of 20 / 3 on the sums is one of 20 on the means."""
    assert np.ceil(federate(load_scenario(tiny)).clients.sizes.mean() / 16) == 3
    excess = {}
    for dual_lr in (0, 20 / 3):
        overrides = ["federation.participation=1", "federation.rounds=30", "evaluation.every=30", "strategy=climb"]
        losses = client_losses(fedlt.run(tiny, *overrides, f"strategy.dual_lr={dual_lr}", out=tmp_path), tiny)
        excess[dual_lr] = max(losses) - np.mean(losses)
    assert excess[20 / 3] < 0.7 * excess[0], excess
