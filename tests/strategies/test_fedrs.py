"""FedRS: a step on the restricted softmax against NumPy, and how far it moves a class that the client lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.nn.net import Net
from strategies.fedrs import FedRS

X = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]], np.float32)
Y = np.array([0, 0, 1])  # the client's counts are 2, 1, 0


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_step_scales_the_whole_logit_of_the_absent_class_alone(make_client: Any, alpha: float) -> None:
    torch.manual_seed(0)
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    client = make_client(net, X, Y, Local(epochs=1, batch_size=3, lr=0.5, momentum=0.0))
    client.class_counts = torch.tensor([2, 1, 0])
    weight, bias = (p.detach().double().numpy().copy() for p in (net.head.weight, net.head.bias))
    strategy = FedRS(alpha)
    strategy.fit(client)

    scale = np.array([1.0, 1.0, alpha])
    scores = np.exp((X @ weight.T + bias) * scale)
    error = (scores / scores.sum(1, keepdims=True) - np.eye(3)[Y]) * scale / 3
    after = net.head.weight.detach().numpy()
    assert np.allclose(after, weight - 0.5 * error.T @ X, atol=1e-6)
    assert np.allclose(net.head.bias.detach().numpy(), bias - 0.5 * error.sum(0), atol=1e-6)
    assert np.array_equal(after[2], weight[2]) == (alpha == 0), "with 0 the absent class stays where it is"
    found = strategy.personal(client, torch.from_numpy(X))
    assert isinstance(found, torch.Tensor)
    assert np.allclose(found.detach(), X @ after.T + net.head.bias.detach().numpy(), atol=1e-6), "unscaled"


def test_absent_classes_are_pushed_down_less(train_one: Any) -> None:
    """Client 4 has samples of all classes but 6, 8 and 9."""
    moved = {}
    for alpha in (1.0, 0.5, 0.0):
        worker, start, _ = train_one(4, "strategy=fedrs", f"strategy.alpha={alpha}")
        flat = worker.context.flat
        before, after = (flat.trainable_views(vector)["head.bias"] for vector in (start, flat.shared))
        moved[alpha] = (after - before)[[6, 8, 9]].numpy()
    assert np.all(moved[1.0] < moved[0.5]) and np.all(moved[0.5] < 0) and np.all(moved[0.0] == 0)
