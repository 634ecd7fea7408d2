"""FedPAC: statistics, mixtures of heads and the pull by hand; bodies are averaged, heads are each client's own."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlt
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update
from strategies.fedpac import FedPAC, class_means, mixtures, on_simplex, statistics

X = [[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]
Y = [0, 0, 1]


def client_of(make_client: Any, x: list[list[float]] = X, y: list[int] = Y, **local: Any) -> Client:
    """A body that is the identity beneath a head of zeros, for three classes of which the third is absent."""
    net = Net(nn.Linear(2, 2, bias=False), nn.Linear(2, 3), 2)
    client: Client = make_client(net, x, y, Local(**{"epochs": 1, "batch_size": 8, "lr": 0.1} | local))
    client.class_counts = torch.bincount(torch.tensor(y), minlength=3)
    client.task = Task("single", 3, (2,))
    client.vector = torch.cat([torch.eye(2).flatten(), torch.zeros(9)])
    client.start = client.vector.clone()
    client.received = {"prototypes": torch.zeros(3, 2), "known": torch.zeros(3)}
    return client


def server_of(client: Client) -> Server:
    server = Server(client.model, client.flat, client.task)
    FedPAC().setup(server)
    return server


def test_statistics_by_hand(make_client: Any) -> None:
    """Shares 2/3 and 1/3 of means (2, 0) and (0, 2); E|f|^2 = 14 / 3; |h|^2 = 20 / 9."""
    client = client_of(make_client)
    means = class_means(client.features(), client)
    of_class, variance = statistics(client.features(), means, client.class_counts)
    assert means.tolist() == [[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]
    torch.testing.assert_close(of_class, torch.tensor([[4 / 3, 0.0], [0.0, 2 / 3], [0.0, 0.0]]))
    assert variance.item() == pytest.approx(0.814815, abs=1e-6)


def test_equal_clients_mix_by_their_variances() -> None:
    """1 / V, made to sum to 1."""
    shares = mixtures(torch.ones(2, 3), torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.25]] * 2).double(), atol=1e-5, rtol=0)


def test_different_clients_mix_less() -> None:
    """h 0 and 2, V 1 and 1: (2 a)^2 + (1 - a)^2 + a^2 is least at a = 1 / 6."""
    shares = mixtures(torch.tensor([[0.0], [2.0]]), torch.ones(2))
    torch.testing.assert_close(shares, torch.tensor([[5.0, 1.0], [1.0, 5.0]]).double() / 6, atol=1e-5, rtol=0)


def test_mixtures_are_the_least_of_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    h, variance = rng.normal(size=(3, 2)), rng.uniform(0.1, 2, 3)
    found = mixtures(torch.tensor(h), torch.tensor(variance)).numpy()
    grid = [np.array([a, b, 200 - a - b]) / 200 for a, b in itertools.product(range(201), repeat=2) if a + b <= 200]

    def error(own: int, a: Any) -> float:
        return float(((h[own] - a @ h) ** 2).sum() + (a**2 * variance).sum())

    for own in range(3):
        assert found[own].sum() == pytest.approx(1) and found[own].min() >= 0
        assert error(own, found[own]) <= min(error(own, a) for a in grid) + 1e-9


def test_one_client_and_clients_without_variance_have_shares() -> None:
    assert mixtures(torch.ones(1, 4), torch.zeros(1)).tolist() == [[1.0]]
    shares = mixtures(torch.ones(2, 4), torch.zeros(2))
    assert shares.sum(1).tolist() == [1.0, 1.0]


def test_the_nearest_point_of_the_simplex() -> None:
    """(0.9, 0.5, -1): 0.2 off the first two. (5, 0, 0) is beyond a corner."""
    found = on_simplex(torch.tensor([[0.9, 0.5, -1.0], [5.0, 0.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0]]))


def test_each_client_has_its_own_head_and_the_generic_model_the_mean(make_client: Any) -> None:
    """Bodies 1 and 3 of weights 1 and 3; heads 0 and 6 by shares of 5/6 and 1/6."""
    client = client_of(make_client)
    server, updates = server_of(client), []
    for number, (body, head, weight) in enumerate([(1.0, 0.0, 1.0), (3.0, 6.0, 3.0)]):
        vector = torch.cat([torch.full((4,), body), torch.full((9,), head)])
        h = torch.zeros(3, 2)
        h[0, 0] = 2.0 * number
        sums = {"of_class": h, "variance": torch.tensor(1.0)}
        sums |= {"sums": torch.tensor([[4.0 * number, 0.0], [0.0, 8.0], [0.0, 0.0]]), "counts": torch.tensor([3, 1, 0])}
        updates.append(Update((number,), weight, weight * vector, sums))
    FedPAC().aggregate(server, updates)
    assert server.weights.tolist() == [2.5] * 4 + [4.5] * 9
    for number, value in ((0, 1.0), (1, 5.0)):
        torch.testing.assert_close(server.letters[number]["head.weight"], torch.full((3, 2), value), atol=1e-4, rtol=0)
        torch.testing.assert_close(server.letters[number]["head.bias"], torch.full((3,), value), atol=1e-4, rtol=0)
    torch.testing.assert_close(server.outbox["prototypes"], torch.tensor([[4 / 6, 0.0], [0.0, 8.0], [0.0, 0.0]]))
    assert server.outbox["known"].tolist() == [1.0, 1.0, 0.0]


def test_the_mixed_head_is_put_on_the_received_body(make_client: Any) -> None:
    client = client_of(make_client)
    client.received |= {"head.weight": torch.full((3, 2), 5.0), "head.bias": torch.full((3,), 6.0)}
    FedPAC().adapt(client)
    assert client.vector.tolist() == [1.0, 0.0, 0.0, 1.0] + [5.0] * 6 + [6.0] * 3


def test_features_are_drawn_to_prototypes_or_to_the_clients_own_means(make_client: Any) -> None:
    """Without head epochs and with a head of zeros no other gradient reaches the body: one step by hand."""
    client = client_of(make_client)
    client.received |= {"prototypes": torch.tensor([[1.0, 1.0], [9.0, 9.0], [0.0, 0.0]])}
    client.received["known"] = torch.tensor([1.0, 0.0, 0.0])
    FedPAC(pull=0.6, head_epochs=0).fit(client)
    x, goals = np.array(X), np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
    body = np.eye(2) - 0.1 * 0.6 * 2 * (x - goals).T @ x / 6
    assert client.vector[:4].tolist() == pytest.approx(body.ravel().tolist(), abs=1e-6)
    assert client.vector[4:].tolist() == [0.0] * 9


def test_statistics_are_of_the_received_body_and_prototypes_of_the_trained_one(make_client: Any) -> None:
    client = client_of(make_client)
    client.received |= {"prototypes": torch.ones(3, 2), "known": torch.ones(3)}
    FedPAC(head_epochs=0).fit(client)
    assert client.extras["variance"].item() == pytest.approx(0.814815, abs=1e-6)
    counts = client.class_counts[:, None]
    torch.testing.assert_close(client.extras["sums"], counts * class_means(client.features(), client))
    assert not torch.equal(client.extras["sums"], torch.tensor([[4.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))


def test_nothing_is_drawn_in_the_first_round_and_the_head_learns_first(make_client: Any) -> None:
    """A step of the head at its rate; the step of the body beneath it is that of cross-entropy."""
    vectors = []
    for pull in (0.0, 5.0):
        client = client_of(make_client)
        FedPAC(pull=pull, head_lr=0.3).fit(client)
        vectors.append(client.vector)
    assert torch.equal(*vectors)
    error = np.full((3, 3), 1 / 3) - np.eye(3)[Y]
    assert vectors[0][4:10].tolist() == pytest.approx((-0.3 * error.T @ np.array(X) / 3).ravel().tolist(), abs=1e-6)
    assert not torch.equal(vectors[0][:4], torch.eye(2).flatten())


def test_a_client_of_one_sample_runs_and_personal_models_differ(make_client: Any, tiny: Any, tmp_path: Any) -> None:
    client = client_of(make_client, [[1.0, 2.0]], [2])
    FedPAC().fit(client)
    assert client.vector.isfinite().all() and client.extras["variance"].item() == 0
    run = fedlt.run(tiny, "strategy=fedpac", "federation.participation=1", out=tmp_path, backend="inline")
    assert np.isfinite([value for key, value in run.final.items() if "accuracy" in key]).all()
    assert run.final["generic/accuracy"] != run.final["personal/accuracy"]
