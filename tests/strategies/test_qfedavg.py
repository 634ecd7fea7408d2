"""q-FedAvg: what clients send and the server's step, against the published formulas in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedlt.blocks.mean_loss import mean_loss
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update
from strategies.qfedavg import QFedAvg

START = np.array([0.5, -1.0])


def client_of(make_client: Any, x: list[list[float]], y: list[int], id: int) -> Client:
    """Of the model w x, -w x with two weights, from START."""
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(np.stack([START, -START])))
    net = Net(nn.Identity(), head, 2)
    client: Client = make_client(net, x, y, Local(epochs=2, batch_size=1, lr=0.2), id=id)
    return client


@pytest.mark.parametrize(("q", "lipschitz"), [(2.0, None), (0.5, 3.0), (0.0, None)])
def test_a_round_is_that_of_the_paper(make_client: Any, q: float, lipschitz: float | None) -> None:
    """D_k = L (w - w_k), h_k = q F_k^(q - 1) |D_k|^2 + L F_k^q, w <- w - sum F_k^q D_k / sum h_k; L is 1 / 0.2 or 3."""
    strategy, constant = QFedAvg(q, lipschitz), 5.0 if lipschitz is None else lipschitz
    clients = [
        client_of(make_client, [[1.0, 0.5], [2.0, 0.0], [0.1, 1.0]], [0, 0, 1], 0),
        client_of(make_client, [[-1.0, 2.0]], [0], 1),
    ]
    above, below, updates = np.zeros(4), 0.0, []
    start = clients[0].start.double().numpy()
    for client in clients:
        with torch.no_grad():
            loss = float(F.cross_entropy(client.model(client.data.x()), client.data.y))
        strategy.fit(client)
        step = constant * (start - client.vector.double().numpy())
        above += loss**q * step
        below += q * loss ** (q - 1) * (step**2).sum() + constant * loss**q
        weight = strategy.weight(client)
        updates.append(Update((client.id,), weight, weight * client.vector, client.extras))

    net = Net(nn.Identity(), nn.Linear(2, 2, bias=False), 2)
    server = Server(net, Flat(net), Task("single", 2, (2,)))
    server.weights = clients[0].start.clone()
    strategy.aggregate(server, updates)
    assert np.allclose(server.weights.numpy(), start - above / below, atol=1e-5)
    if q == 0:
        assert torch.equal(server.weights, (clients[0].vector + clients[1].vector) / 2), "FedAvg with equal weights"


def test_buffers_are_averaged_by_the_powers_of_the_losses() -> None:
    net = Net(nn.Identity(), nn.Linear(1, 1, bias=False), 1)
    net.register_buffer("variance", torch.ones(1))
    server = Server(net, Flat(net), Task("single", 2, (1,)))
    server.weights = torch.zeros(2)
    extras = {"power": torch.tensor([3.0]), "normaliser": torch.tensor([6.0])}
    other = {"power": torch.tensor([1.0]), "normaliser": torch.tensor([2.0])}
    vectors = [Update((0,), 3.0, 3 * torch.tensor([4.0, 4.0]), extras)]
    QFedAvg().aggregate(server, [*vectors, Update((1,), 1.0, torch.tensor([0.0, 8.0]), other)])
    assert server.weights.tolist() == pytest.approx([3.0 / 2, 5.0]), "half a step, whole means of buffers"


def test_the_loss_is_a_mean_over_samples(make_client: Any) -> None:
    """Of 300 samples in two chunks, of which the second is smaller."""
    rng = np.random.default_rng(0)
    client = client_of(make_client, rng.normal(size=(300, 2)).tolist(), rng.integers(2, size=300).tolist(), 0)
    with torch.no_grad():
        expected = F.cross_entropy(client.model(client.data.x()), client.data.y)
    assert torch.isclose(mean_loss(client), expected)
