"""Per-FedAvg: its step by hand, and what a personal model is tuned on."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlt.config.sections import Local
from fedlt.data.site import Batch
from fedlt.nn.net import Net
from fedlt.strategy import Client
from strategies.per_fedavg import PerFedAvg


class TwoParabolas(PerFedAvg):
    """Half the squared distance from the mean input of the batch."""

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return (client.model.part("head.weight") - batch.x.mean()).square().sum() / 2


class Rows(np.random.Generator):
    """Draws 0, 1, ... as permutations: the first sample comes first."""

    def permutation(self, count: Any, axis: int = 0) -> Any:
        return np.arange(count)


def client_of(make_client: Any, inputs: list[list[float]], lr: float) -> Client:
    net = Net(nn.Identity(), nn.Linear(1, 1, bias=False), 1)
    local = Local(epochs=1, batch_size=1, lr=lr, momentum=0.0)
    client: Client = make_client(net, inputs, [0] * len(inputs), local, rng=Rows(np.random.PCG64(0)))
    client.vector = torch.ones(1)
    return client


def test_the_gradient_after_the_inner_step_moves_the_weights_before_it(make_client: Any) -> None:
    """f1 = w^2 / 2 and f2 = (w - 2)^2 / 2 from 1 at rates of 0.1: u = 0.9, and w = 1 + 0.1 * 1.1."""
    client = client_of(make_client, [[0.0], [2.0]], 0.1)
    client.train(TwoParabolas().adapted_loss, sampler=lambda site: np.array([1]))
    assert client.vector.item() == pytest.approx(1.11, abs=1e-6)


@pytest.mark.parametrize(("tune", "expected"), [("batch", 0.9), ("epoch", 1.01)])
def test_a_personal_model_is_one_step_or_one_pass_away(
    make_client: Any, tune: Literal["batch", "epoch"], expected: float
) -> None:
    client = client_of(make_client, [[0.0], [2.0]], 0.7)
    TwoParabolas(inner_lr=0.1, tune=tune).adapt(client)
    assert client.vector.item() == pytest.approx(expected, abs=1e-6)


def test_running_statistics_move_once_a_step(make_client: Any) -> None:
    """By the batch of the gradient, as under FedAvg, and not by that of the inner step."""
    net = Net(nn.BatchNorm1d(1), nn.Linear(1, 2), 1)
    client = make_client(net, [[1.0], [3.0]], [0, 1], Local(epochs=1, batch_size=2, lr=0.1))
    PerFedAvg().fit(client)
    assert float(client.flat.tensors["backbone.running_mean"]) == pytest.approx(0.2)
