"""FedProto: the loss, the prototypes and the prediction by hand; models that stay at home."""

from __future__ import annotations

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
from strategies.fedproto import FedProto

PROTOTYPES = torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, 0.0]])


def client_of(make_client: Any, x: list[list[float]], y: list[int]) -> Client:
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    client: Client = make_client(net, x, y, Local(epochs=1, batch_size=8, lr=0.1), private=FedProto.private)
    client.class_counts = torch.bincount(torch.tensor(y), minlength=3)
    client.task = Task("single", 3, (2,))
    client.received = {"prototypes": PROTOTYPES, "known": torch.tensor([1.0, 1.0, 0.0])}
    return client


def test_features_are_drawn_to_known_prototypes(make_client: Any) -> None:
    """Squared distances 4 + 1 and 1 + 4 over three samples of two features; the third class has no prototype."""
    client = client_of(make_client, [[3.0, 1.0], [1.0, 1.0], [5.0, 5.0]], [0, 1, 2])
    batch = client.data.batch(torch.arange(3))
    pull = FedProto(pull=0.6).loss(client, batch) - FedProto(pull=0.0).loss(client, batch)
    assert pull.item() == pytest.approx(0.6 * 10 / 6, rel=1e-4)


def test_clients_count_alike_in_a_prototype(make_client: Any) -> None:
    """Means 2 and 0 of nine samples and one make 1, not 1.8; a class that nobody has keeps its prototype."""
    strategy, updates = FedProto(), []
    for number, (x, count) in enumerate([(2.0, 9), (0.0, 1)]):
        client = client_of(make_client, [[x, -x]] * count, [0] * count)
        strategy.fit(client)
        updates.append(Update((number,), float(count), client.vector * count, client.extras))
    server = Server(client.model, client.flat, Task("single", 3, (2,)))
    strategy.setup(server)
    server.outbox["prototypes"][1] = 5.0
    strategy.aggregate(server, updates)
    assert server.outbox["prototypes"].tolist() == [[1.0, -1.0], [5.0, 5.0], [0.0, 0.0]]
    assert server.outbox["known"].tolist() == [1.0, 0.0, 0.0]


def test_the_nearest_known_prototype_is_predicted(make_client: Any) -> None:
    """The third one, at zero, is none; before there are any, the head predicts."""
    client = client_of(make_client, [[0.0, 0.0]], [0])
    x = torch.tensor([[0.0, 0.1], [0.0, 2.0]])
    found = FedProto().personal(client, x)
    assert found["nearest"].argmax(1).tolist() == [0, 1]
    assert found["nearest"][1, :2].tolist() == pytest.approx([-2.5, -0.5])
    client.received["known"] = torch.zeros(3)
    found = FedProto().personal(client, x)
    assert torch.equal(found["nearest"], client.model(x)) and torch.equal(found["head"], client.model(x))


def test_without_the_pull_its_models_are_those_of_local(tiny: dict[str, Any], tmp_path: Any) -> None:
    figures = []
    for name in ("local", "fedproto strategy.pull=0", "fedproto"):
        run = fedlt.run(tiny, *f"strategy={name}".split(), "evaluation.every=2", out=tmp_path, backend="inline")
        variant = "personal[head]" if "fedproto" in name else "personal"
        figures.append([run.final[f"{variant}/{figure}"] for figure in ("accuracy", "nll")])
        assert int(run.rounds["bytes_up"].iloc[0]) == (0 if name == "local" else 3 * 4 * (16 * 10 + 10))
    assert figures[0] == figures[1] != figures[2]
    assert np.isfinite(figures).all()
