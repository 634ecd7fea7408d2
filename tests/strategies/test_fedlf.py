"""FedLF: the scales by hand, the step that they make, and what becomes of the head's bias."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from strategies.fedlf import FedLF

X = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]], np.float32)
Y = np.array([0, 0, 1])


def test_scales_rise_with_the_clients_own_counts() -> None:
    assert FedLF().scales(torch.tensor([50, 10, 0, 5])).tolist() == pytest.approx([1.0, 0.4, 0.25, 0.325])


@pytest.mark.parametrize("bias", ["none", "official", "trained"])
def test_a_step_descends_the_scaled_loss(make_client: Any, bias: Literal["none", "official", "trained"]) -> None:
    strategy = FedLF(floor=0.2, bias=bias)
    torch.manual_seed(2)
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    initial = net.head.bias.detach().double().numpy().copy()
    strategy.build(net, Task("single", 3, (2,)))
    client = make_client(net, X, Y, Local(epochs=1, batch_size=3, lr=0.5, momentum=0.0))
    client.class_counts = torch.tensor([2, 1, 0])
    weight = net.head.weight.detach().double().numpy().copy()
    strategy.fit(client)

    scale, used = np.array([1.0, 0.6, 0.2]), initial if bias == "trained" else np.zeros(3)
    scores = np.exp((X @ weight.T + used) * scale)
    error = (scores / scores.sum(1, keepdims=True) - np.eye(3)[Y]) * scale / 3
    assert np.allclose(net.head.weight.detach().numpy(), weight - 0.5 * error.T @ X, atol=1e-6)
    after = {"none": np.zeros(3), "official": initial, "trained": initial - 0.5 * error.sum(0)}[bias]
    assert np.allclose(net.head.bias.detach().numpy(), after, atol=1e-6)
    found = strategy.personal(client, torch.from_numpy(X))
    assert isinstance(found, torch.Tensor)
    assert np.allclose(found.detach(), X @ net.head.weight.detach().numpy().T + after, atol=1e-6), "unscaled"
