"""FedALA: how its weights are learnt, by hand, what they mix, and when."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedlt.config.sections import Local
from fedlt.data.site import Batch
from fedlt.nn.net import Net
from fedlt.strategy import Client
from strategies import fedala
from strategies.fedala import FedALA


class Quarter(FedALA):
    """Half the squared distance of the head's weight from a quarter, whatever the batch."""

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return (client.model.part("head.weight") - 0.25).square().sum() / 2


def client_of(make_client: Any, own: float = 0.0, received: float = 1.0) -> Client:
    """Body and head of one weight each, both at `received`; the client ended its round before with both at `own`."""
    net = Net(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False), 1)
    client: Client = make_client(net, [[1.0]] * 5, [0] * 5, Local(epochs=1, batch_size=8, lr=1e-9))
    client.vector = torch.full((2,), received)
    client.start = client.vector.clone()
    client.state["own"] = torch.full((2,), own)
    return client


def test_one_step_finds_the_best_mixture(make_client: Any) -> None:
    """Own 0, received 1, loss (theta - 0.25)^2 / 2: the weight goes from 1 by 0.75. The body is taken over."""
    client = client_of(make_client)
    client.state["weights"] = torch.ones(1)
    Quarter(layers=1).mix(client)
    assert client.state["weights"].tolist() == pytest.approx([0.25])
    assert client.vector.tolist() == pytest.approx([1.0, 0.25])


def test_weights_stay_between_0_and_1(make_client: Any) -> None:
    """From -2 to 2 the step would be 4 times 1.75."""
    client = client_of(make_client, -2.0, 2.0)
    client.state["weights"] = torch.ones(1)
    Quarter(layers=1).mix(client)
    assert client.state["weights"].tolist() == [0.0]
    assert client.vector.tolist() == [2.0, -2.0]


@pytest.mark.parametrize(("settled", "passes"), [(1.0, 11), (-1.0, 100)])
def test_the_first_mixing_ends_once_losses_settle(
    make_client: Any, monkeypatch: pytest.MonkeyPatch, settled: float, passes: int
) -> None:
    """At a small rate each pass takes the weight a little nearer; the next mixing has one pass."""
    monkeypatch.setattr(fedala, "SETTLED", settled)
    client, eta = client_of(make_client), 0.01
    Quarter(layers=1, eta=eta).mix(client)
    weight = 0.25 + 0.75 * (1 - eta) ** passes
    assert client.state["weights"].item() == pytest.approx(weight, abs=1e-5)
    client.vector = client.start
    Quarter(layers=1, eta=eta).mix(client)
    assert client.state["weights"].item() == pytest.approx(0.25 + (weight - 0.25) * (1 - eta), abs=1e-5)


def test_nothing_is_mixed_where_nothing_differs(make_client: Any) -> None:
    client = client_of(make_client, 1.0, 1.0)
    Quarter().mix(client)
    assert "weights" not in client.state
    del client.state["own"]
    Quarter().fit(client)
    assert "weights" not in client.state and client.state["own"].tolist() == pytest.approx([1.0, 1.0])


def test_the_personal_model_is_the_mixture(make_client: Any) -> None:
    client = client_of(make_client)
    client.state["weights"] = torch.ones(2)
    Quarter(layers=2).adapt(client)
    assert client.vector.tolist() == pytest.approx([1.0, 0.25])  # no gradient reaches the body's weight
