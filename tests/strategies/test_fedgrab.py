"""Fed-GraB: controllers and weighted steps against NumPy, and what they do to a skewed client's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.nn.net import Net
from strategies.fedgrab import FedGraB


@pytest.mark.parametrize(("head", "negatives"), [(0.0, True), (0.34, True), (0.34, False)])
def test_three_steps_of_controllers_and_weights(make_client: Any, head: float, negatives: bool) -> None:
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
    strategy = FedGraB(kp=8.0, ki=0.5, kd=2.0, slope=0.3, negatives=negatives, gate=None, head=head)
    strategy.begin(client)

    error, last, total, target = np.zeros(3), np.zeros(3), np.zeros(3), np.eye(3)[y]
    for _ in range(2):
        free = np.arange(3) == np.argmax(np.hypot(*weight.T)) if head else np.zeros(3, bool)
        strategy.fit(client)
        for _ in range(2):
            total += error
            control = 8.0 * error + 0.5 * total + 2.0 * (error - last)
            last = error
            positive, negative = ((10 / 9) / (1 / 9 + np.exp(-sign * 0.3 * control)) for sign in (1, -1))
            balanced = np.where(target > 0, positive, negative if negatives else 1.0)
            gradient = (1 / (1 + np.exp(-x @ weight.T - bias)) - target) * np.where(free, 1.0, balanced)
            error = error + gradient.mean(0)
            weight, bias = weight - lr * gradient.T @ x / 4, bias - lr * gradient.mean(0)
        assert np.allclose(net.head.weight.detach().numpy(), weight, atol=1e-5)
        assert np.allclose(net.head.bias.detach().numpy(), bias, atol=1e-5)
        assert np.allclose(client.state["error"].numpy(), error, atol=1e-5)
        assert np.allclose(client.state["error_sum"].numpy(), total, atol=1e-5)
    assert np.ptp(positive) > 0.1  # the controllers were at work


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        (FedGraB(ki=0.0, kd=0.0, gate=None, head=0.0), (3.32, 0.242)),
        (FedGraB(ki=0.0, kd=0.0, slope=0.05, negatives=False, gate=None, head=0.0), (1.14, 1.0)),
    ],
    ids=["release", "branch"],
)
def test_the_weights_of_the_release_and_of_the_earlier_branch(
    make_client: Any, strategy: FedGraB, weights: tuple[float, float]
) -> None:
    """Error .3 and gain 10, so u = 3: 10 / (1 + 9 exp(-1.5)) and 10 / (1 + 9 exp(1.5)), or 10 / (1 + 9 exp(-.15))."""
    client = make_client(Net(nn.Identity(), nn.Linear(2, 2), 2), np.zeros((2, 2)), [0, 1], Local())
    strategy.begin(client)
    client.state["error"] = torch.full((2,), 0.3)
    client.state["balanced"] = strategy.balanced(torch.tensor([2.0, 1.0]))
    positive, negative = strategy.weights(client)
    assert positive.tolist() == pytest.approx([weights[0]] * 2, abs=5e-3)
    assert negative.tolist() == pytest.approx([weights[1]] * 2, abs=5e-4)


def test_the_gate_leaves_frequent_classes_alone_more_often(make_client: Any) -> None:
    """Norms 5, 1, 4, 2 of which the largest quarter is a head class: of 4, 2, 1 shares 1, .1^.5 and .1 are alone."""
    strategy = FedGraB(head=0.25)
    found = strategy.balanced(torch.tensor([5.0, 1.0, 4.0, 2.0]))
    assert found.tolist() == pytest.approx([0.0, 0.9, 0.0, 1 - 0.1**0.5])
    assert FedGraB(head=0.25, gate=None).balanced(torch.tensor([5.0, 1.0, 4.0, 2.0])).tolist() == [0, 1, 1, 1]
    client = make_client(Net(nn.Identity(), nn.Linear(2, 2), 2), np.zeros((2, 2)), [0, 1], Local())
    client.state["balanced"] = found
    drawn = torch.stack([strategy.chosen(client) for _ in range(1000)])
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean(0).tolist() == pytest.approx(found.tolist(), abs=0.05)


def test_rare_classes_are_fitted_sooner_than_by_the_plain_sigmoid_head(train_one: Any) -> None:
    """Client 4 has 23, 10, 6, 2, 7, 1, 0, 7, 0, 0 samples. head=1 leaves all alone, and the gate would leave one.

    Left alone, negative gradients prevail in every class; the controllers bring the accumulated ones nearer together.
    """
    fitted, error = {}, {}
    for head in (0, 1):
        changes = ["strategy.gate=null", f"strategy.head={head}", "local.epochs=10"]
        worker, _, report = train_one(4, "strategy=fedgrab", *changes)
        rows = torch.from_numpy(worker.context.federation.clients[4])
        y = worker.context.train_targets[rows]
        with torch.no_grad():
            probability = worker.context.model(worker.context.train_inputs.take(rows)).sigmoid()
        fitted[head] = np.array([probability[y == c, c].mean() for c in (1, 2, 3, 4, 5, 7)])
        error[head] = report.states[4]["state/error"]
    assert torch.all(error[1] > 0)
    assert torch.all(error[0].abs() < error[1])
    assert np.all(fitted[0] > fitted[1])
    assert fitted[0][4] > 4 * fitted[1][4]  # the class with one sample


def test_the_controllers_go_on_in_the_next_round(train_one: Any) -> None:
    _, _, first = train_one(4, "strategy=fedgrab")
    fresh = train_one(4, "strategy=fedgrab", round=2)[0].context.flat.shared.clone()
    kept = train_one(4, "strategy=fedgrab", round=2, states=first.states)[0].context.flat.shared
    assert not torch.allclose(fresh, kept, atol=1e-4)
