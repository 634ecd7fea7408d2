"""FedCRAC: margins, loss, what clients send and the re-training by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update
from strategies.fedcrac import FedCRAC

MEANS = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def client_of(make_client: Any, x: Any, y: list[int]) -> Client:
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    FedCRAC().build(net, Task("single", 3, (2,)))
    client: Client = make_client(net, x, y, Local(epochs=1, batch_size=8, lr=1e-9))
    client.class_counts, client.task = torch.bincount(torch.tensor(y), minlength=3), Task("single", 3, (2,))
    client.received = {"margins": FedCRAC().margins(MEANS)}
    return client


def test_alike_classes_have_a_margin(make_client: Any) -> None:
    """Logits 5 (2, 1, 0) of a sample of class 0 become 10, 8.5355, 0; predictions have no margin."""
    assert FedCRAC(margin=2.0).margins(MEANS)[0].tolist() == pytest.approx([0.0, 2 * 0.5**0.5, 0.0])
    client = client_of(make_client, [[1.0, 0.0]], [0])
    client.vector = torch.tensor([2.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    assert FedCRAC().loss(client, client.data.batch(torch.arange(1))).item() == pytest.approx(0.20803, abs=1e-5)
    assert client.model(torch.tensor([[1.0, 0.0]])).tolist() == [[10.0, 5.0, 0.0]]


def test_a_class_without_a_mean_has_the_full_margin() -> None:
    found = FedCRAC().margins(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    assert found.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def test_clients_send_classes_of_two_samples_and_more(make_client: Any) -> None:
    """Class 0 at (1, 0) and (3, 4): mean (2, 2), variances 2 and 8. Class 1 has one sample, class 2 none."""
    client = client_of(make_client, [[1.0, 0.0], [3.0, 4.0], [9.0, 9.0]], [0, 0, 1])
    FedCRAC().fit(client)
    assert client.extras["counts"].tolist() == [2, 0, 0]
    assert client.extras["means"].tolist() == [[4, 4], [0, 0], [0, 0]]
    assert client.extras["variances"].tolist() == [[4, 16], [0, 0], [0, 0]]


def test_the_head_descends_both_terms_from_where_it_starts() -> None:
    """Three of Nesterov's steps against PyTorch's own, on 0.5 CE + 0.125 KL at temperature 0.5, a mean over all."""
    rng = np.random.default_rng(0)
    features, start = (torch.from_numpy(rng.normal(size=size)).float() for size in ((5, 2), (3, 2)))
    y, strategy = torch.tensor([0, 0, 1, 2, 0]), FedCRAC(steps=3, head_lr=0.1, teacher=4.0)
    head = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([head], lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(3):
        logits, taught = 5 * features @ head.T, (5 * features @ start.T / 0.5).softmax(1)
        divergence = (taught * (taught.log() - (logits / 0.5).log_softmax(1))).mean()
        optimizer.zero_grad()
        (0.5 * F.cross_entropy(logits, y) + 4.0 * divergence).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert torch.allclose(strategy.calibrated(features, y, start), head, atol=1e-5)


@pytest.mark.parametrize("start", ["averaged", "server"])
def test_the_server_starts_from_the_averaged_head_or_from_its_own(make_client: Any, start: Any) -> None:
    """Without steps the head is the one that it starts from. Means of 3 and 1 samples at 1 and 5 make 2."""
    client = client_of(make_client, [[0.0, 0.0]], [0])
    server = Server(client.model, client.flat, client.task)
    server.weights = torch.zeros(6)
    strategy = FedCRAC(steps=0, start=start)
    strategy.setup(server)
    server.state["means"][1] = 7.0  # of a class that nobody in the cohort has
    counts = [torch.tensor([3.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])]
    boxes = [
        {"counts": n, "means": n[:, None] * torch.full((3, 2), m), "variances": torch.zeros(3, 2)}
        for n, m in zip(counts, (1.0, 5.0), strict=True)
    ]
    strategy.aggregate(server, [Update((k,), 1.0, torch.ones(6), box) for k, box in enumerate(boxes)])
    assert server.weights.tolist() == [1.0 if start == "averaged" else 0.0] * 6
    assert server.state["means"].tolist() == [[2.0, 2.0], [7.0, 7.0], [0.0, 0.0]]


def test_virtual_features_follow_means_variances_and_counts(make_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many of each class as the cohort has, with the standard deviations 3 and 0."""
    client, seen = client_of(make_client, [[0.0, 0.0]], [0]), []
    server = Server(client.model, client.flat, client.task)
    FedCRAC().setup(server)

    def watched(self: FedCRAC, features: torch.Tensor, y: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        seen.append((features, y))
        return start

    monkeypatch.setattr(FedCRAC, "calibrated", watched)
    counts = torch.tensor([4000.0, 0.0, 2.0])
    box = {"counts": counts, "means": counts[:, None] * MEANS, "variances": counts[:, None] * torch.tensor([9.0, 0.0])}
    FedCRAC().aggregate(server, [Update((0,), 1.0, server.weights.clone(), box)])
    features, y = seen[0]
    assert torch.bincount(y).tolist() == [4000, 0, 2]
    assert features[y == 0].std(0).tolist() == pytest.approx([3.0, 0.0], abs=0.15)
    assert features[y == 0].mean(0).tolist() == pytest.approx([1.0, 0.0], abs=0.2)
