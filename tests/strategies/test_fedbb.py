"""FedBB, in the derived form: a step of the balanced binary losses against NumPy, and clients' weights by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.nn.net import Net
from fedlt.strategy import Client
from strategies.fedbb import FedBB

X = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0], [-1.0, 1.0]])


def client_of(make_client: Any, counts: list[int], lr: float = 0.5) -> Client:
    net = Net(nn.Identity(), nn.Linear(2, len(counts)), 2)
    y = np.repeat(np.arange(len(counts)), counts)
    client: Client = make_client(net, X[: len(y)], y, Local(epochs=1, batch_size=4, lr=lr, momentum=0.0))
    client.class_counts = torch.tensor(counts)
    return client


def test_a_step_weighs_what_is_rare_within_and_between_classes(make_client: Any) -> None:
    """Counts 3, 1, 0: positives weigh 1/4 and 3/4, negatives 3/4 and 1/4; the absent class weighs nothing.

    Effective numbers at beta 0.5 are 1.75 and 1, so e = 1 / 1.75 and 1, scaled to the mean 1.
    """
    client = client_of(make_client, [3, 1, 0])
    head = client.model.head
    before = np.column_stack([p.detach().double().numpy() for p in (head.weight, head.bias)])
    FedBB(beta=0.5).fit(client)
    after = np.column_stack([p.detach().double().numpy() for p in (head.weight, head.bias)])

    extended, positive = np.column_stack([X, np.ones(4)]), np.eye(3)[[0, 0, 0, 1]]
    weight = np.where(positive == 1, [0.25, 0.75, 1.0], [0.75, 0.25, 0.0])
    effective = np.array([1 / 1.75, 1.0, 0.0]) * 2 / (1 / 1.75 + 1)
    error = (1 / (1 + np.exp(-extended @ before.T)) - positive) * weight * effective
    assert np.allclose(after, before - 0.5 * error.T @ extended / 4, atol=1e-6)
    assert np.array_equal(after[2], before[2])


def test_a_client_of_one_class_has_nothing_to_balance(make_client: Any) -> None:
    client = client_of(make_client, [0, 1, 0])
    before = client.vector.clone()
    FedBB().fit(client)
    assert torch.equal(client.vector, before)


@pytest.mark.parametrize(("counts", "distance"), [([1, 1, 1], 0.0), ([2, 0, 0], 2 / 3), ([2, 1, 0], 1 / 3)])
def test_skewed_clients_count_less(make_client: Any, counts: list[int], distance: float) -> None:
    client = client_of(make_client, counts)
    assert FedBB(skew=2.0).weight(client) == pytest.approx(sum(counts) * math.exp(-2 * distance), rel=1e-5)
    assert FedBB(skew=0.0).weight(client) == sum(counts)
