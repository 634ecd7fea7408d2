"""CCVR: pooled moments, what is drawn of them, and that training is FedAvg's until the exchange after it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fedlt
from fedlt.config.sections import Local
from fedlt.nn.net import Net
from fedlt.nn.softmax import head_of
from fedlt.strategy import Client, Update
from strategies.ccvr import CCVR, moments, roots

A, B = [[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]], [[4.0, 1.0], [6.0, 3.0]]
TRUE = torch.tensor([[5.8, 1.7], [1.7, 2.3]], dtype=torch.float64)


def told(make_client: Any, x: Any, y: Any, **fields: Any) -> Client:
    """A client that was asked after the last round; its features are its inputs."""
    torch.manual_seed(0)
    client: Client = make_client(Net(nn.Identity(), nn.Linear(2, 2), 2), x, y, Local())
    CCVR(**fields).conclude(client)
    return client


def pooled(*clients: Client) -> dict[str, Tensor]:
    return {name: sum(client.extras[name] for client in clients) for name in clients[0].extras}  # type: ignore[misc]


def asked(*clients: Client, **fields: Any) -> Tensor:
    """[C, D + 1] the head that the server re-trains on what these clients sent."""
    rng = np.random.default_rng(3)
    server: Any = SimpleNamespace(model=clients[0].model, weights=torch.zeros(1), rng=rng, outbox={})
    CCVR(**fields).concluded(server, [Update((0,), 1.0, torch.empty(0), client.extras) for client in clients])
    head: Tensor = server.outbox["head"]
    return head


@pytest.mark.parametrize(
    ("covariance", "expected"),
    [("full", TRUE), ("diagonal", TRUE.diag().diag()), ("shared", TRUE * 4 / 5)],
    ids=["full", "diagonal", "shared"],
)
def test_pooled_moments_are_those_of_the_union(make_client: Any, covariance: str, expected: Tensor) -> None:
    """A second class of two equal samples adds one degree of freedom to what all classes share, and no scatter."""
    one = told(make_client, A, [0, 0, 0], covariance=covariance)
    other = told(make_client, [*B, [9.0, 9.0], [9.0, 9.0]], [0, 0, 1, 1], covariance=covariance)
    means, covariances = moments(*(pooled(one, other)[name] for name in ("counts", "sums", "products")))
    assert torch.allclose(means[0], torch.tensor([2.6, 1.4], dtype=torch.float64), atol=1e-6)
    assert torch.allclose(covariances[0], expected, atol=1e-6)
    assert torch.allclose(covariances[1], expected if covariance == "shared" else torch.zeros(2, 2).double())


def test_a_class_of_one_sample_or_of_none_has_no_spread(make_client: Any) -> None:
    client = told(make_client, [[3.0, 4.0]], [1])
    means, covariances = moments(*(client.extras[name] for name in ("counts", "sums", "products")))
    assert means.tolist() == [[0, 0], [3, 4]] and not covariances.any()
    assert asked(client, features=5).isfinite().all()


def test_roots_give_back_the_covariances() -> None:
    singular = torch.tensor([[4.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    found = roots(torch.stack([TRUE, singular]))
    assert torch.allclose(found @ found, torch.stack([TRUE, singular]), atol=1e-12)


def test_the_head_is_trained_on_draws_that_have_the_pooled_moments(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equally many of each class that anybody holds, about its mean and with its covariance."""
    drawn: dict[int, Tensor] = {}

    def seen(features: Tensor, y: Tensor, head: Tensor, *_: Any) -> Tensor:
        drawn.update({int(label): features[y == label] for label in y.unique()})
        return head + 1

    monkeypatch.setattr("strategies.ccvr.regress", seen)
    clients = told(make_client, A, [0, 0, 0]), told(make_client, [*B, [9.0, 9.0], [9.0, 9.0]], [0, 0, 1, 1])
    head = asked(*clients, features=4000)
    assert torch.equal(head, head_of(clients[0].model) + 1)
    assert [len(drawn[label]) for label in (0, 1)] == [4000, 4000]
    assert torch.allclose(drawn[0].mean(0), torch.tensor([2.6, 1.4]), atol=0.15)
    assert torch.allclose(drawn[0].T.cov(), TRUE.float(), atol=0.4)
    assert torch.allclose(drawn[1], torch.tensor(9.0))


def test_the_head_of_many_clients_is_that_of_the_one_site_with_all_data(make_client: Any) -> None:
    x, y = [*A, *B, [-3.0, -3.0], [-4.0, -2.0], [-3.0, -1.0]], [0] * 5 + [1] * 3
    whole = asked(told(make_client, x, y), features=50)
    parts = [told(make_client, x[start::3], y[start::3]) for start in range(3)]
    assert torch.allclose(asked(*parts, features=50), whole, atol=1e-6)


def test_every_class_counts_alike(make_client: Any) -> None:
    """Ninety samples of class 0 and ten of class 1, spread alike: the re-trained boundary lies in the middle."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-1, 1, (90, 2)), rng.normal(1, 1, (10, 2))])
    client = told(make_client, x, [0] * 90 + [1] * 10, covariance="shared")
    centre = torch.tensor(np.concatenate([x[:90].mean(0), x[90:].mean(0)]).reshape(2, 2).mean(0), dtype=torch.float32)
    head = asked(client, features=400, head_epochs=60, head_lr=0.1)
    assert not torch.equal(head, head_of(client.model))
    scores = head[:, :2] @ centre + head[:, 2]
    assert abs(float(scores[1] - scores[0])) < 0.5  # it would be log 9 = 2.2 with samples as frequent as they are


@pytest.mark.slow
def test_training_is_fedavgs_and_the_head_comes_after_it(tiny: dict[str, Any], tmp_path: Path) -> None:
    plain = fedlt.run(tiny, "strategy=fedavg", out=tmp_path, backend="inline")
    run = fedlt.run(tiny, "strategy=ccvr", "strategy.features=50", out=tmp_path, backend="inline")
    assert run.final["generic[averaged]/accuracy"] == plain.final["generic/accuracy"]
    first = run.metrics[run.metrics["round"] == 1].set_index("metric")["value"]
    assert first["generic/accuracy"] == first["generic[averaged]/accuracy"]
    assert run.final["generic/accuracy"] != plain.final["generic/accuracy"]
    sent = 6 * 8 * 10 * (1 + 16 + 16 * 16)  # six clients, float64, ten classes, sixteen features
    assert run.rounds["bytes_up"].iloc[-1] - plain.rounds["bytes_up"].iloc[-1] == sent
