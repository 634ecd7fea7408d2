"""FedNTD: the divergence over the classes that are not true by hand, and the step that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.nn.net import Net
from strategies.fedntd import FedNTD

X = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]], np.float32)
Y = np.array([0, 2, 2])


@pytest.mark.parametrize(("tau", "expected"), [(1.0, 0.828725), (3.0, 1.080226)])
def test_the_true_class_is_left_out(tau: float, expected: float) -> None:
    z, g, y = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([0])
    assert FedNTD(tau=tau).divergence(z, g, y).item() == pytest.approx(expected, abs=1e-5)
    assert FedNTD(tau=tau).divergence(z + torch.tensor([9.0, 0.0, 0.0]), g, y).item() == pytest.approx(
        expected, abs=1e-5
    )


def test_the_second_step_is_held_by_the_received_model(make_client: Any) -> None:
    """At first the two models agree and nothing is kept; one step later they differ."""
    net = Net(nn.Identity(), nn.Linear(2, 3, bias=False), 2)
    client = make_client(net, X, Y, Local(epochs=2, batch_size=3, lr=0.5, momentum=0.0))
    client.class_counts = torch.tensor([1, 0, 2])
    start = net.head.weight.detach().double().numpy().copy()
    FedNTD(beta=1.5, tau=2.0).fit(client)

    def softmax(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)  # type: ignore[no-any-return]

    weight, true = start.copy(), np.eye(3)[Y].astype(bool)
    for _ in range(2):
        z, g = X @ weight.T, X @ start.T
        own, taught = (np.where(true, 0, softmax(np.where(true, -np.inf, part / 2.0))) for part in (z, g))
        error = softmax(z) - true + 1.5 * 2.0 * (own - taught)  # tau^2 / tau
        weight = weight - 0.5 * error.T @ X / 3
    assert np.allclose(net.head.weight.detach().numpy(), weight, atol=1e-6)
