"""FedWCM: weights by rarity and the share by the cohort's imbalance, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update
from strategies.fedwcm import FedWCM


def client_of(make_client: Any, counts: list[int], known: list[int]) -> Client:
    net = Net(nn.Identity(), nn.Linear(1, len(counts)), 1)
    y = np.repeat(np.arange(len(counts)), counts)
    client: Client = make_client(net, np.ones((len(y), 1)), y, Local(epochs=1, batch_size=8, lr=0.1))
    client.class_counts, client.task = torch.tensor(counts), Task("single", len(counts), (1,), np.array(known))
    return client


@pytest.mark.parametrize(("counts", "score"), [([3, 0, 0], -1.0), ([0, 0, 2], 0.8), ([1, 0, 1], -0.1)])
def test_clients_of_rare_classes_count_more(make_client: Any, counts: list[int], score: float) -> None:
    """Shares 0.75, 0.1833, 0.0667 lack -0.4167, 0.15, 0.2667 to a third; scaled by 0.4167."""
    client = client_of(make_client, counts, [45, 11, 4])
    expected = {-1.0: -1.0, 0.8: (1 / 3 - 4 / 60) / (0.75 - 1 / 3), -0.1: (2 / 3 - 0.75 - 4 / 60) / 2 / (0.75 - 1 / 3)}
    assert expected[score] == pytest.approx(score, abs=0.3)
    assert FedWCM(temperature=0.5).weight(client) == pytest.approx(math.exp(2 * expected[score]), rel=1e-4)


def test_all_count_alike_where_no_class_is_rare(make_client: Any) -> None:
    assert FedWCM().weight(client_of(make_client, [3, 0, 0], [5, 5, 5])) == 1.0


def test_the_share_follows_the_cohorts_classes(make_client: Any) -> None:
    """Counts 6, 2 and 0 are 0.4167 from equal: alpha = 0.2 + 0.8 * 0.4167; the next round's clients take it."""
    client = client_of(make_client, [4, 1, 0], [45, 11, 4])
    strategy, server = FedWCM(alpha=0.2), Server(client.model, client.flat, client.task)
    strategy.setup(server)
    assert server.outbox["alpha"].tolist() == pytest.approx([0.2])
    client.received = server.outbox
    strategy.fit(client)
    assert client.extras["counts"].tolist() == [4, 1, 0]
    other = {**client.extras, "counts": torch.tensor([2.0, 1.0, 0.0])}
    strategy.aggregate(
        server, [Update((0,), 1.0, client.vector, client.extras), Update((1,), 1.0, client.vector, other)]
    )
    assert strategy.own_share(client) == pytest.approx(0.2 + 0.8 * (6 / 8 - 1 / 3))
