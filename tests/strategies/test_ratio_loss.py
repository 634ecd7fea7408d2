"""Ratio Loss: who owns a weight, ratios, the class weights that follow a round later, and what the server trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.config.sections import Local
from fedlt.data.inputs import shaped
from fedlt.data.site import Rows
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.strategy import Server, Update
from strategies.ratio_loss import RatioLoss, ratios

X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, 3.0]])


def server_of(labels: list[int], net: Net | None = None) -> Server:
    torch.manual_seed(0)
    net = net or Net(nn.Identity(), nn.Linear(2, 2), 2)
    own = Rows(shaped((2,)).open(X.numpy(), torch.device("cpu")), torch.tensor(labels), torch.arange(4))
    return Server(net, Flat(net), Task("single", 2, (2,)), auxiliary=own, rng=np.random.default_rng(0))


def test_a_ratio_is_over_the_weights_that_the_class_owns() -> None:
    """Three classes, five weights.

    Class 0 raises the first two most, 4 and 2, where the others' mean is -1 and 0.5: 6 / 0.5 = 12. The third is shared:
    1 and 0.9. Class 1 owns the fourth, 3 against a mean of -1.5; class 2 none.
    """
    changes = torch.tensor([[4.0, 2, 1, -2, 0], [-1, 1, 0.9, 3, 0], [-1, 0, 0, -1, 0]])
    assert ratios(changes).tolist() == pytest.approx([12.0, 2.0, 10.0])


def test_a_fall_may_share_a_weight_and_does_not_own_it() -> None:
    """The largest is by sign; that no other one is near is by size: -2.5 is more than 0.8 of 3."""
    assert ratios(torch.tensor([[3.0, 1.0], [-2.5, 0.0], [0.0, -0.5]]))[0].item() == pytest.approx(1 / 0.25)
    assert ratios(torch.tensor([[3.0, 1.0], [-2.3, 0.0], [0.0, -0.5]]))[0].item() == pytest.approx(4 / 1.4)


def test_a_class_that_owns_nothing_has_the_ratio_ten() -> None:
    """Nor is there a quotient of what the others leave as it is."""
    assert ratios(torch.tensor([[1.0, 0.0], [0.25, 0.0], [0.0, 0.0]])).tolist() == [8, 10, 10]
    assert ratios(torch.tensor([[1.0], [0.0], [0.0]])).tolist() == [10, 10, 10]


@pytest.mark.parametrize(("ratio", "weight"), [(1, 1.1), (3, 1.3), (10, 2), (5000, 501), (5001, 501)])
def test_class_weights_are_one_and_a_tenth_of_the_ratio(
    ratio: float, weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strategies.ratio_loss.ratios", lambda changes: torch.full((2,), float(ratio)))
    server, strategy = server_of([0, 1, 0, 1]), RatioLoss()
    strategy.setup(server)
    assert server.outbox["class_weights"].tolist() == [1, 1]  # in the first round
    strategy.aggregate(server, [Update((0,), 1.0, server.weights.clone())])
    assert server.outbox["class_weights"].tolist() == pytest.approx([weight] * 2)


def test_the_server_trains_the_received_model_on_each_class_alone() -> None:
    """Two epochs of batches of one, in float32, against PyTorch's own SGD; the mean is not touched by it."""
    server, strategy = server_of([0, 1, 0, 1]), RatioLoss(lr=0.1, batch=2)
    start = {name: value.clone() for name, value in server.model.state_dict().items()}
    found = strategy.changes(server)
    for label, rows in enumerate(([0, 2], [1, 3])):
        net = nn.Linear(2, 2)
        net.load_state_dict({name.removeprefix("head."): value for name, value in start.items()})
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.0005)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(net(X[rows]), torch.tensor([label] * 2)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert torch.allclose(found[label], net.weight - start["head.weight"], atol=1e-6)
    assert all(value.equal(start[name]) for name, value in server.model.state_dict().items())

    mean = torch.arange(6.0)
    strategy.setup(server)
    strategy.aggregate(server, [Update((0,), 2.0, 2 * mean)])
    assert server.weights.equal(mean)
    assert server.outbox["class_weights"].tolist() == pytest.approx((1 + 0.1 * ratios(found)).tolist())


def test_what_a_class_has_not_met_has_the_larger_ratio() -> None:
    """A model that has seen class 0 alone: its head leans there, and class 1's samples move what is class 1's more."""
    server = server_of([0, 1, 0, 1])
    server.weights = torch.tensor([1.0, 1, -1, -1, 2, -2])
    known, rare = ratios(RatioLoss().changes(server)).tolist()
    assert rare > 2 * known


def test_a_weighted_loss_is_not_divided_by_its_weights(make_client: Any) -> None:
    net = Net(nn.Identity(), nn.Linear(2, 2, bias=False), 2)
    client = make_client(net, X[:2].numpy(), [0, 1], Local(epochs=1, batch_size=2, lr=0.1))
    client.vector = torch.zeros(4)
    client.received = {"class_weights": torch.tensor([1.0, 501.0])}
    value: Tensor = RatioLoss().loss(client, client.data.batch(torch.arange(2)))
    assert value.item() == pytest.approx(np.log(2) * 502 / 2, rel=1e-5)


def test_a_label_that_is_improbable_has_a_finite_loss(make_client: Any) -> None:
    net = Net(nn.Identity(), nn.Linear(2, 2, bias=False), 2)
    client = make_client(net, X[:1].numpy(), [1], Local(epochs=1, batch_size=2, lr=0.1))
    client.vector = torch.tensor([500.0, 0, -500, 0])
    client.received = {"class_weights": torch.ones(2)}
    assert RatioLoss().loss(client, client.data.batch(torch.arange(1))).item() == pytest.approx(1000)
