"""RUCR: loss, class means, virtual features and aggregation against NumPy, and what the rectified head does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import fedlt
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.strategy import Server, Update
from strategies.rucr import RUCR

Array = NDArray[np.float64]


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def nll(scores: Array, y: NDArray[np.int64]) -> float:
    return float(np.mean(np.log(np.exp(scores).sum(1)) - scores[np.arange(len(y)), y]))


def client_of(make_client: Any, x: Array, y: NDArray[np.int64], **fields: Any) -> Any:
    client = make_client(
        Net(nn.Identity(), nn.Linear(2, 3), 2), x, y, Local(epochs=1, batch_size=9, lr=0.1, momentum=0), **fields
    )
    client.class_counts = torch.bincount(torch.from_numpy(y), minlength=3)
    client.task = Task("single", 3, (2,), None)
    return client


def test_the_loss_pulls_towards_prototypes_of_present_classes(make_client: Any) -> None:
    rng = np.random.default_rng(0)
    x, y, prototypes = rng.normal(size=(5, 2)), np.array([0, 2, 0, 0, 2]), rng.normal(size=(3, 2))
    client = client_of(make_client, x, y)
    client.received = {"prototypes": torch.from_numpy(prototypes).float(), "shares": torch.tensor([0.6, 0.3, 0.1])}
    found = RUCR(pull=0.8, temperature=0.5).loss(client, client.data.batch(torch.arange(5))).item()
    head = client.model.head
    scores = x @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    cosines = unit(x) @ unit(prototypes).T / 0.5
    cosines[:, 1] = 0  # the client lacks class 1
    cosines[np.arange(5), y] += np.log([0.6, 0.3, 0.1])[y]
    assert np.isclose(found, nll(scores, y) + 0.8 * nll(cosines, y), atol=1e-5)


def test_a_client_sends_class_means_and_at_the_end_a_rectified_head(make_client: Any) -> None:
    """Softmax regression on 4 mixtures of each known direction with the client's own ones; class 1 has none yet."""
    rng = np.random.default_rng(1)
    x, y, directions = rng.normal(size=(5, 2)), np.array([0, 2, 0, 0, 2]), rng.normal(size=(3, 2))
    directions[1] = 0
    client = client_of(make_client, x, y, progress=0.8, rng=np.random.default_rng(5))
    shares = {"prototypes": torch.zeros(3, 2), "shares": torch.ones(3) / 3}
    client.received = {**shares, "directions": torch.from_numpy(directions).float()}
    strategy = RUCR(rectify=0.2, virtual=4, low=0.2, high=0.7, head_epochs=2, head_lr=0.3, head_batch=5)
    strategy.fit(client)
    sums = np.array([x[y == c].sum(0) for c in range(3)])
    assert np.allclose(client.extras["sums"].numpy(), sums, atol=1e-6)
    assert client.extras["counts"].tolist() == [3, 0, 2]
    assert np.allclose(client.extras["directions"].numpy()[[0, 2]], unit(sums[[0, 2]]) * [[3], [2]], atol=1e-6)

    trained = client.model.head
    start = np.column_stack([trained.weight.detach().numpy(), trained.bias.detach().numpy()]).astype(float)
    found = strategy.rectified(
        torch.from_numpy(x), torch.from_numpy(directions), torch.from_numpy(start), np.random.default_rng(7)
    )
    rng, head = np.random.default_rng(7), start
    part = rng.uniform(0.2, 0.7, (2, 4))[..., None]
    mixed = part * directions[[0, 2], None] + (1 - part) * unit(x)[rng.integers(5, size=(2, 4))]
    extended, labels = np.column_stack([mixed.reshape(8, 2), np.ones(8)]), np.repeat([0, 2], 4)
    for _ in range(2):
        order = rng.permutation(8)
        for rows in (order[:5], order[5:]):
            scores = np.exp(extended[rows] @ head.T)
            error = scores / scores.sum(1, keepdims=True) - np.eye(3)[labels[rows]]
            head = head - 0.3 * error.T @ extended[rows] / len(rows)
    assert np.allclose(found.numpy(), head, atol=1e-9)
    assert client.extras["head"].shape == (3, 3)

    early = client_of(make_client, x, y, progress=0.7)
    early.received = client.received
    strategy.fit(early)
    assert "head" not in early.extras


def test_class_means_may_be_taken_in_training_mode(make_client: Any) -> None:
    """By the statistics of batches of two; the last sample joins the batch before it. The model's own do not move."""
    x, y = np.array([[0, 3], [2, 1], [4, 4], [8, 0], [6, 2.0]]), np.array([0, 0, 2, 2, 2])
    sums, running = {}, {}
    for means in ("evaluation", "training"):
        norm = torch.nn.BatchNorm1d(2, eps=1e-9, affine=False)
        local = Local(epochs=1, batch_size=2, lr=0.1, momentum=0, last_batch="merge")
        client = make_client(Net(norm, nn.Linear(2, 3), 2), x, y, local, rng=np.random.default_rng(0))
        client.class_counts, client.task = torch.tensor([2, 0, 3]), Task("single", 3, (2,), None)
        client.received = {"prototypes": torch.zeros(3, 2), "shares": torch.ones(3) / 3, "directions": torch.ones(3, 2)}
        RUCR(means=means, virtual=1, head_epochs=1).fit(client)
        sums[means], running[means] = client.extras["sums"].numpy(), norm.running_mean.tolist()
    assert running["training"] == running["evaluation"]
    assert np.allclose(sums["evaluation"], [x[:2].sum(0), [0, 0], x[2:].sum(0)], atol=1e-5)
    rows = np.concatenate([(part - part.mean(0)) / part.std(0) for part in (x[:2], x[2:])])
    assert np.allclose(sums["training"], [rows[:2].sum(0), [0, 0], rows[2:].sum(0)], atol=1e-5)


def test_the_server_averages_by_class_counts_and_keeps_what_nobody_has() -> None:
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    server = Server(net, Flat(net), Task("single", 3, (2,), None))
    strategy = RUCR()
    strategy.setup(server)
    server.outbox["prototypes"][1] = torch.tensor([7.0, 7.0])
    sums = torch.tensor([[8.0, 4.0], [0.0, 0.0], [3.0, 6.0]])
    sent = {"sums": sums, "directions": sums / 2, "counts": torch.tensor([4.0, 0.0, 3.0]), "head": 5 * torch.ones(3, 3)}
    strategy.aggregate(server, [Update((0,), 10.0, 10 * torch.ones(9), sent)])
    assert torch.allclose(server.outbox["prototypes"], torch.tensor([[2.0, 1.0], [7.0, 7.0], [1.0, 2.0]]))
    assert torch.allclose(server.outbox["directions"], torch.tensor([[1.0, 0.5], [0.0, 0.0], [0.5, 1.0]]))
    assert torch.allclose(server.outbox["shares"], torch.tensor([4.0, 1.0, 3.0]) / 8)
    assert torch.allclose(server.outbox["head"], torch.full((3, 3), 0.5))


@pytest.mark.slow
def test_the_rectified_head_serves_the_tail_better_than_the_averaged_one(tiny: Any, tmp_path: Path) -> None:
    overrides = ["federation.rounds=10", "federation.participation=1", "evaluation.every=10", "local.epochs=2"]
    run = fedlt.run(tiny, *overrides, "strategy=rucr", "strategy.rectify=0.2", "strategy.head_lr=0.5", out=tmp_path)
    assert run.final["generic/few"] > run.final["generic[averaged]/few"] + 0.1
