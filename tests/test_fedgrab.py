"""Fed-GraB: controllers and weighted steps against NumPy, and what they do to a skewed client's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.nn.net import Net
from fedlt.scenario import Local
from strategies.fedgrab import FedGraB


@pytest.mark.parametrize("head", [0.0, 0.34])
def test_three_steps_of_controllers_and_weights(make_client: Any, head: float) -> None:
    """Full batches; with head=0.34 the one class of largest norm keeps weight 1. The second fit goes on from there."""
    x = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0], [-1.0, 1.0]])
    y, lr = np.array([0, 0, 0, 1]), 0.5
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    weight, bias = np.array([[1.0, -0.5], [0.2, 0.3], [-0.3, 0.4]]), np.array([0.1, -0.2, 0.3])
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(weight))
        net.head.bias.copy_(torch.from_numpy(bias))
    client = make_client(net, x, y, Local(epochs=2, batch_size=4, lr=lr, momentum=0.0))
    client.task = type(client.task)("single", 3, (2,), np.array([3, 1, 0]))
    strategy = FedGraB(kp=8.0, ki=0.5, kd=2.0, slope=0.3, head=head)
    strategy.begin(client)

    error, last, total, target = np.zeros(3), np.zeros(3), np.zeros(3), np.eye(3)[y]
    for _ in range(2):
        free = np.arange(3) == np.argmax(np.hypot(*weight.T)) if head else np.zeros(3, bool)
        strategy.fit(client)
        for _ in range(2):
            total += error
            control = 8.0 * error + 0.5 * total + 2.0 * (error - last)
            last = error
            positive = np.where(free, 1.0, (10 / 9) / (1 / 9 + np.exp(-0.3 * control)))
            gradient = (1 / (1 + np.exp(-x @ weight.T - bias)) - target) * np.where(target > 0, positive, 1.0)
            error = error + gradient.mean(0)
            weight, bias = weight - lr * gradient.T @ x / 4, bias - lr * gradient.mean(0)
        assert np.allclose(net.head.weight.detach().numpy(), weight, atol=1e-5)
        assert np.allclose(net.head.bias.detach().numpy(), bias, atol=1e-5)
        assert np.allclose(client.state["error"].numpy(), error, atol=1e-5)
        assert np.allclose(client.state["error_sum"].numpy(), total, atol=1e-5)
    assert np.ptp(positive) > 0.1  # the controllers were at work


def test_rare_classes_are_fitted_sooner_than_by_the_plain_sigmoid_head(train_one: Any) -> None:
    """Client 4 has 23, 10, 6, 2, 7, 1, 0, 7, 0, 0 samples; head=1 leaves all classes alone."""
    fitted = {}
    for head in (0, 1):
        worker, _, report = train_one(4, "strategy=fedgrab", f"strategy.head={head}", "local.epochs=10")
        rows = torch.from_numpy(worker.federation.clients[4])
        y = worker.train_targets[rows]
        with torch.no_grad():
            probability = worker.model(worker.train_inputs.take(rows)).sigmoid()
        fitted[head] = np.array([probability[y == c, c].mean() for c in (1, 2, 3, 4, 5, 7)])
        assert torch.all(report.states[4]["state/error"] > 0)  # negative gradients prevail: weights above 1
    assert np.all(fitted[0] > fitted[1])
    assert fitted[0][4] > 4 * fitted[1][4]  # the class with one sample


def test_the_controllers_go_on_in_the_next_round(train_one: Any) -> None:
    _, _, first = train_one(4, "strategy=fedgrab")
    fresh = train_one(4, "strategy=fedgrab", round=2)[0].flat.shared.clone()
    kept = train_one(4, "strategy=fedgrab", round=2, states=first.states)[0].flat.shared
    assert not torch.allclose(fresh, kept, atol=1e-4)
