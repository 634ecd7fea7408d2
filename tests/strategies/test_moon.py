"""MOON: the contrast by hand, and the step that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client
from strategies.moon import MOON, ProjectedHead

X = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]], np.float32)


def client_of(make_client: Any, strategy: MOON) -> Client:
    torch.manual_seed(1)
    net = Net(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), 2)
    strategy.build(net, Task("single", 2, (2,)))
    client: Client = make_client(net, X, [0, 1, 1], Local(epochs=1, batch_size=3, lr=0.5, momentum=0.0))
    return client


def test_the_contrast_is_that_of_the_cosines() -> None:
    """Cosines 0.8 with the received model and 0.2 with the last one, at temperature 0.5."""
    z = torch.tensor([[2.0, 0.0]])
    received, last = torch.tensor([[4.0, 3.0]]), torch.tensor([[1.0, 24**0.5]])
    assert MOON().contrast(z, received, last).item() == pytest.approx(0.263282, abs=1e-5)


def test_a_step_draws_towards_the_received_model_and_away_from_the_last(make_client: Any) -> None:
    strategy = MOON(mu=2.0, tau=0.7, projection=0)
    client = client_of(make_client, strategy)
    last = client.vector.clone() * torch.tensor([1.0, -1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
    client.state["last"] = last
    body, head = (client.flat.tensors[name].clone() for name in ("backbone.weight", "head.weight"))
    x, y = torch.from_numpy(X), torch.tensor([0, 1, 1])

    def unit(rows: Tensor) -> Tensor:
        return rows / rows.norm(dim=1, keepdim=True)

    w = body.clone().requires_grad_()
    z = unit(x @ w.T)
    near, far = ((z * unit(x @ other.T)).sum(1) / 0.7 for other in (body, last[:4].view(2, 2)))
    scores = x @ w.T @ head.T
    loss = (scores.logsumexp(1) - scores[range(3), y]).mean() + 2.0 * ((near.exp() + far.exp()).log() - near).mean()
    (gradient,) = torch.autograd.grad(loss, w)

    strategy.fit(client)
    assert torch.allclose(client.flat.tensors["backbone.weight"], body - 0.5 * gradient, atol=1e-6)
    assert torch.equal(client.state["last"], client.vector)


def test_the_first_round_has_no_contrast_and_predictions_pass_the_projection(make_client: Any) -> None:
    strategy = MOON(projection=5)
    client, plain = client_of(make_client, strategy), client_of(make_client, MOON(mu=0.0, projection=5))
    assert isinstance(client.model.head, ProjectedHead) and client.model.head.linear.in_features == 5
    strategy.fit(client)
    MOON(mu=0.0, projection=5).fit(plain)
    assert torch.equal(client.vector, plain.vector)
    assert not plain.state
