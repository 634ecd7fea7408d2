"""pFedMe: its two steps by hand, what a client keeps, and the server's own step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlt.config.sections import Local
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update
from strategies.pfedme import PFedMe

LOCAL = Local(epochs=1, batch_size=2, lr=0.3, momentum=0.0)


class Squared(PFedMe):
    """The loss is half the squared weight, whatever the batch."""

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return client.model.part("head.weight").square().sum() / 2


def client_of(make_client: Any, samples: int = 2) -> Client:
    net = Net(nn.Identity(), nn.Linear(1, 1, bias=False), 1)
    client: Client = make_client(net, np.ones((samples, 1)), [0] * samples, LOCAL)
    client.vector = torch.ones(1)
    client.start = client.vector.clone()
    return client


@pytest.mark.parametrize(("own_lr", "theta", "w"), [(0.09, 0.936409, 0.995231), (0.01, 0.963603, 0.997270)])
def test_five_steps_of_the_personal_model_and_one_of_the_shared(
    make_client: Any, own_lr: float, theta: float, w: float
) -> None:
    """f = theta^2 / 2 from 1, with the published 15, 0.005 and 0.001."""
    client = client_of(make_client)
    Squared(own_lr=own_lr).fit(client)
    assert client.state["own"].item() == pytest.approx(theta, abs=1e-6)
    assert client.vector.item() == pytest.approx(w, abs=1e-6)
    Squared().adapt(client)
    assert client.vector.item() == pytest.approx(theta, abs=1e-6)


def test_the_personal_model_goes_on_from_batch_to_batch(make_client: Any) -> None:
    """Four batches of two: in each theta takes two steps from where it was, while w follows."""
    client, theta, w = client_of(make_client, samples=8), 1.0, 1.0
    Squared(lam=2.0, steps=2, own_lr=0.1, lr=0.2, decay=0.0).fit(client)
    for _ in range(4):
        for _ in range(2):
            theta -= 0.1 * (theta + 2.0 * (theta - w))
        w -= 0.2 * 2.0 * (w - theta)
    assert client.state["own"].item() == pytest.approx(theta, abs=1e-6)
    assert client.vector.item() == pytest.approx(w, abs=1e-6)


def test_running_statistics_follow_the_personal_models_steps(make_client: Any) -> None:
    """Each of the five passes over inputs of mean 2 moves the mean a tenth of the way; without them it stays 0."""
    net = Net(nn.BatchNorm1d(1), nn.Linear(1, 2), 1)
    client = make_client(net, [[1.0], [3.0]], [0, 1], LOCAL)
    PFedMe().fit(client)
    mean = 2 * (1 - 0.9**5)
    assert float(client.flat.tensors["backbone.running_mean"]) == pytest.approx(mean)
    assert client.state["own"][-3] == pytest.approx(mean) or mean in [pytest.approx(v) for v in client.state["own"]]


def test_the_server_goes_a_part_of_the_way_to_the_mean() -> None:
    from fedlt.nn.flat import Flat

    net = Net(nn.BatchNorm1d(1, affine=False), nn.Linear(1, 1, bias=False), 1)
    server = Server(net, Flat(net), Task("single", 2, (1,)))
    server.weights = torch.tensor([1.0, 0.0, 1.0])
    PFedMe(beta=0.25).aggregate(server, [Update((0,), 2.0, torch.tensor([6.0, 1.0, 4.0]))])
    assert server.weights.tolist() == [1.5, 0.5, 2.0]  # statistics take the mean
