"""FedDecorr: the penalty by hand, and what it does to features that say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedlt.config.sections import Local
from fedlt.data.site import Batch
from fedlt.nn.net import Net
from strategies.feddecorr import FedDecorr, correlation


def test_the_penalty_is_the_mean_squared_correlation_times_the_batch() -> None:
    """Correlations 1, 0 and 0 of three pairs; standardised over B - 1 = 3, a product's sum is 3 times one."""
    features = torch.tensor([[1.0, 2.0, 1.0], [-1.0, -2.0, 1.0], [1.0, 2.0, -1.0], [-1.0, -2.0, -1.0]])
    assert float(correlation(features)) == pytest.approx(3**2 / 3 / 4, rel=1e-5)
    assert float(correlation(features[:, [0, 2]])) == pytest.approx(0, abs=1e-6)

    wide = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32))
    matrix = np.corrcoef(wide.numpy().T)
    mean_square = (matrix[~np.eye(5, dtype=bool)] ** 2).mean()
    assert float(correlation(3 * wide + 7)) == pytest.approx(mean_square * 8**2 / 9, rel=1e-4)


def test_a_feature_that_never_varies_has_finite_gradients() -> None:
    features = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]], requires_grad=True)
    value = correlation(features)
    value.backward()
    assert value.item() == 0 and bool(features.grad is not None and features.grad.isfinite().all())
    assert float(correlation(torch.tensor([[1.0], [2.0]]))) == 0, "one feature has no pair"


def test_the_loss_adds_it_with_its_weight_and_leaves_single_samples_alone(make_client: Any) -> None:
    torch.manual_seed(0)
    net = Net(nn.Linear(3, 4), nn.Linear(4, 2), 4)
    x, y = np.random.default_rng(1).normal(size=(6, 3)), [0, 1, 0, 1, 1, 0]
    client = make_client(net, x, y, Local())
    for rows in (6, 1):
        batch: Batch = client.data.batch(torch.arange(rows))
        expected = F.cross_entropy(net(batch.x), batch.y)
        if rows > 1:
            expected = expected + 0.3 * correlation(net.encode(batch.x))
        assert torch.isclose(FedDecorr(0.3).loss(client, batch), expected)


def test_training_by_it_takes_features_apart(make_client: Any) -> None:
    """Two features that start as one: after training their correlation is what FedAvg's training leaves it above."""
    found = {}
    for beta in (0.0, 1.0):
        torch.manual_seed(0)
        net = Net(nn.Linear(4, 2), nn.Linear(2, 2), 2)
        with torch.no_grad():
            net.backbone.weight[1] = net.backbone.weight[0] + 0.1 * net.backbone.weight[1]
        x, y = np.random.default_rng(1).normal(size=(32, 4)), np.arange(32) % 2
        client = make_client(net, x, y, Local(epochs=20, batch_size=16, lr=0.05))
        FedDecorr(beta).fit(client)
        with torch.no_grad():
            found[beta] = float(correlation(net.encode(client.data.x())))
    assert found[1.0] < 0.1 * found[0.0]
