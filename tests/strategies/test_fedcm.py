"""FedCM: its step and its direction by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedlt.config.sections import Local
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update
from strategies.fedcm import FedCM


class FirstWeight(CrossEntropy):
    """The gradient is (1, 0) everywhere."""

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return site.model.part("head.weight").flatten()[0]  # type: ignore[no-any-return]


def client_of(make_client: Any, samples: int = 4) -> Client:
    net, local = Net(nn.Identity(), nn.Linear(1, 2, bias=False), 1), Local(epochs=1, batch_size=4, lr=0.5, momentum=0.0)
    client: Client = make_client(net, [[1.0]] * samples, [0] * samples, local, learner=FirstWeight())
    client.vector = torch.zeros(2)
    client.start = client.vector.clone()
    client.received = {"direction": torch.tensor([0.0, 2.0])}
    return client


def test_a_step_is_a_little_of_its_own_gradient_and_a_lot_of_the_direction(make_client: Any) -> None:
    """alpha 0.1, g = (1, 0), m = (0, 2): the direction is (0.1, 1.8). The loss that is told is the client's own."""
    client = client_of(make_client)
    client.vector = torch.tensor([0.5, 3.0])
    batch = client.data.batch(torch.arange(4))
    loss = FedCM().loss(client, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert client.model.part("head.weight").grad.flatten().tolist() == pytest.approx([0.1, 1.8])
    assert loss.item() == pytest.approx(0.5)


def test_the_next_direction_is_the_mean_change_as_a_gradient(make_client: Any) -> None:
    """Two clients, of 8 and 4 samples: two steps of rate 0.5 and one. Their mean change over the mean of 1 and 0.5."""
    updates = []
    for number, samples in enumerate((8, 4)):
        client = client_of(make_client, samples)
        FedCM().fit(client)
        steps = samples // 4
        assert client.vector.tolist() == pytest.approx([-0.05 * steps, -0.9 * steps])
        updates.append(Update((number,), float(samples), client.vector * samples, client.extras))
    server = Server(client.model, client.flat, Task("single", 2, (1,)))
    server.weights = torch.zeros(2)
    FedCM().setup(server)
    assert server.outbox["direction"].tolist() == [0.0, 0.0]
    FedCM().aggregate(server, updates)
    assert server.outbox["direction"].tolist() == pytest.approx([0.1, 1.8])
    assert server.weights.tolist() == pytest.approx([-0.05 * 5 / 3, -0.9 * 5 / 3])
