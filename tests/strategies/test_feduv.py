"""FedUV: both penalties by hand, where they cannot be told, and what they do for a client of one class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedlt.config.sections import Local
from fedlt.nn.net import Net
from strategies.feduv import FedUV, closeness, lacking_deviation


def test_four_samples_of_four_classes_lack_no_deviation() -> None:
    assert float(lacking_deviation(1e3 * torch.eye(4))) == pytest.approx(0, abs=1e-6)
    assert float(lacking_deviation(torch.zeros(5, 4))) == pytest.approx(0.5), "all alike: C^(-1/2) is lacking"
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    deviations = np.std(logits.softmax(1).numpy(), axis=0, ddof=1)
    assert float(lacking_deviation(logits)) == pytest.approx((2**-0.5 - deviations).mean(), rel=1e-5)


def test_closeness_is_in_units_of_the_median_distance_of_unequal_features() -> None:
    """Squared distances 0, 1, 1, 4, 4, 1, the lower median of those above 0 being 1."""
    features = torch.tensor([[0.0], [0.0], [1.0], [2.0]])
    expected = (1 + 3 * math.exp(-1) + 2 * math.exp(-4)) / 6
    assert float(closeness(features)) == pytest.approx(expected, rel=1e-5)
    assert float(closeness(10 * features)) == pytest.approx(expected, rel=1e-5)


def test_equal_samples_have_finite_gradients() -> None:
    for penalty, worst in ((closeness, 1.0), (lacking_deviation, 3**-0.5)):
        given = torch.ones(4, 3, requires_grad=True)
        value = penalty(given)
        value.backward()
        assert value.item() == pytest.approx(worst) and given.grad is not None and bool(given.grad.isfinite().all())


def test_the_loss_adds_both_and_leaves_single_samples_alone(make_client: Any) -> None:
    torch.manual_seed(0)
    net = Net(nn.Linear(3, 4), nn.Linear(4, 2), 4)
    client = make_client(net, np.random.default_rng(1).normal(size=(6, 3)), [0, 1, 0, 1, 1, 0], Local())
    for rows in (6, 1):
        batch = client.data.batch(torch.arange(rows))
        features, expected = net.encode(batch.x), F.cross_entropy(net(batch.x), batch.y)
        if rows > 1:
            expected = expected + 0.7 * lacking_deviation(net.head(features)) + 0.2 * closeness(features)
        assert torch.isclose(FedUV(variance=0.7, uniformity=0.2).loss(client, batch), expected)


def test_a_client_of_one_class_goes_on_telling_classes_apart(make_client: Any) -> None:
    """Cross-entropy alone makes all of its predictions one; the deviation keeps them varied."""
    spread = {}
    for variance in (0.0, 2.5):
        torch.manual_seed(0)
        net = Net(nn.Linear(3, 4), nn.Linear(4, 3), 4)
        client = make_client(net, np.random.default_rng(1).normal(size=(16, 3)), [0] * 16, Local(epochs=30, lr=0.1))
        FedUV(variance, uniformity=0).fit(client)
        with torch.no_grad():
            spread[variance] = float(net(client.data.x()).softmax(1).std(0).mean())
    assert spread[2.5] > 2 * spread[0.0]
