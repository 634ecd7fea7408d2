"""FedAS: alignment, heads and Fisher weights by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.nn.net import Net
from fedlt.strategy import Client, combine
from fedlt.strategy import Update as Sent
from strategies.fedas import FedAS, alignment, class_means

X = [[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]
Y = [0, 0, 1]


def client_of(make_client: Any, body: float = 1.0, batch: int = 3) -> Client:
    """Body and head are 2 x 2 matrices: `body` and 0.5 times the identity."""
    net = Net(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), 2)
    client: Client = make_client(net, X, Y, Local(epochs=1, batch_size=batch, lr=1e-9))
    client.vector = torch.cat([body * torch.eye(2).flatten(), 0.5 * torch.eye(2).flatten()])
    client.start = client.vector.clone()
    return client


def test_classes_count_alike_in_the_alignment(make_client: Any) -> None:
    """Distances (1 + 0) / 2 and (1 + 0) / 2 of two samples, and (0 + 4) / 2 of one: 0.5 + 2."""
    client = client_of(make_client)
    means = class_means(client)
    assert means.tolist() == [[2.0, 0.0], [0.0, 2.0]]
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    assert alignment(features, torch.tensor(Y), means).item() == pytest.approx(2.5)


def test_the_received_body_goes_towards_what_the_own_one_knew(make_client: Any) -> None:
    """Own body I, received 2 I, one step: its gradient by hand. The head is the client's own."""
    client = client_of(make_client, body=2.0)
    client.state["own"] = torch.cat([torch.eye(2).flatten(), torch.tensor([7.0, 8.0, 9.0, 10.0])])
    FedAS(align_lr=0.1).receive(client)
    x, means = np.array(X), np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    pulls = (2 * x - means) / np.array([[2], [2], [1]])  # 2 / D = 1
    body = 2 * np.eye(2) - 0.1 * pulls.T @ x
    assert client.vector[:4].tolist() == pytest.approx(body.ravel().tolist(), abs=1e-6)
    assert client.vector[4:].tolist() == [7.0, 8.0, 9.0, 10.0]


def test_without_a_round_before_nothing_is_aligned(make_client: Any) -> None:
    client = client_of(make_client, body=2.0)
    FedAS().adapt(client)
    assert torch.equal(client.vector, client.start)


def test_a_clients_weight_is_its_fisher_trace(make_client: Any) -> None:
    """Two batches of the three samples: squared norms of the gradients of their means, by differences in NumPy."""
    strategy, client = FedAS(), client_of(make_client, batch=2)
    strategy.fit(client)
    x, y = np.array(X), np.eye(2)[Y]
    body, head = np.eye(2), 0.5 * np.eye(2)
    trace = 0.0
    for part in (slice(0, 2), slice(2, 3)):
        features = x[part] @ body.T
        scores = np.exp(features @ head.T)
        error = (scores / scores.sum(1, keepdims=True) - y[part]) / len(features)
        trace += ((error.T @ features) ** 2).sum() + (((error @ head).T @ x[part]) ** 2).sum()
    assert strategy.weight(client) == pytest.approx(trace, rel=1e-4)
    client.state["fisher"] = torch.zeros(())
    assert strategy.weight(client) > 0


def test_traces_of_4_and_1_make_weights_of_four_and_one_fifth(make_client: Any) -> None:
    client, sent = client_of(make_client), []
    for number, trace in enumerate((4.0, 1.0)):
        client.state["fisher"] = torch.tensor(trace)
        weight = FedAS().weight(client)
        sent.append(Sent((number,), weight, weight * torch.tensor([float(number)])))
    assert combine(sent).mean.item() == pytest.approx(0.2)
