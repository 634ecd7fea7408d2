"""FedAMP: attention, messages and the pull by hand; models that stay apart."""

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
from strategies.fedamp import FedAMP

MODELS = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
AWAY = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, 5.0], [4.0, 5.0, 0.0]], dtype=torch.float64)
"""Their squared distances, whose mean is 10 / 3."""


def client_of(make_client: Any) -> Client:
    """One input, two logits that are its weights."""
    client: Client = make_client(Net(nn.Identity(), nn.Linear(1, 2, bias=False), 1), [[1.0]], [0], Local(batch_size=1))
    return client


def written(make_client: Any, strategy: FedAMP, models: list[list[float]]) -> dict[int, list[float]]:
    """The mixtures that the server writes, by client."""
    client = client_of(make_client)
    server = Server(client.model, client.flat, Task("single", 2, (1,)))
    server.weights = torch.tensor([7.0, 8.0])
    updates = [Update((3 + number,), 2.0, 2 * torch.tensor(model)) for number, model in enumerate(models)]
    strategy.aggregate(server, updates)
    assert server.weights.tolist() == [7.0, 8.0]
    return {client: letter["mixture"].tolist() for client, letter in server.letters.items()}


def test_the_attention_of_the_code_by_hand() -> None:
    """exp(-1) and exp(-4), and what is left."""
    shares = FedAMP(alpha=1.0, sigma=1.0).attention(AWAY)
    assert shares[0].tolist() == pytest.approx([0.613805, 0.367879, 0.018316], abs=1e-6)
    assert shares.sum(1).tolist() == pytest.approx([1.0] * 3)


def test_unless_set_the_attention_follows_the_distances() -> None:
    """A third of exp(-3 / 10) and exp(-12 / 10); twice as far apart, the same; equal models weigh alike."""
    shares = FedAMP().attention(AWAY)
    assert shares[0, 1:].tolist() == pytest.approx([np.exp(-0.3) / 3, np.exp(-1.2) / 3])
    torch.testing.assert_close(FedAMP().attention(4 * AWAY), shares)
    torch.testing.assert_close(FedAMP().attention(0 * AWAY), torch.full_like(AWAY, 1 / 3))


def test_no_share_is_below_zero() -> None:
    """alpha / sigma of 9 would make shares of others that sum to 9 times exp(-1) + exp(-4)."""
    first = FedAMP(alpha=9.0, sigma=1.0).attention(AWAY)[0].tolist()
    assert first == pytest.approx([0.0, 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))])


def test_each_client_has_its_own_mixture(make_client: Any) -> None:
    found = written(make_client, FedAMP(alpha=1.0, sigma=1.0), MODELS)
    assert found[3] == pytest.approx([0.367879, 2 * 0.018316], abs=1e-6)
    assert found[5] == pytest.approx([np.exp(-5), 2 * (1 - np.exp(-4) - np.exp(-5))], abs=1e-6)


def test_a_client_that_is_alone_is_drawn_to_its_last_model(make_client: Any) -> None:
    assert written(make_client, FedAMP(), MODELS[1:2]) == {3: [1.0, 0.0]}


@pytest.mark.parametrize(("pull", "more"), [("squared", 0.5 / 2 * 25), ("distance", 0.5 / 2 * 5)])
def test_the_pull_by_hand(make_client: Any, pull: Any, more: float) -> None:
    """The model is (3, 4) away from the mixture."""
    client, strategy = client_of(make_client), FedAMP(lam=0.5, pull=pull)
    client.vector = torch.tensor([3.0, 5.0])
    batch = client.data.batch(torch.arange(1))
    alone = strategy.loss(client, batch).item()
    client.received["mixture"] = torch.tensor([0.0, 1.0])
    assert strategy.loss(client, batch).item() - alone == pytest.approx(more)
    client.received["mixture"] = torch.tensor([3.0, 5.0])
    gradient = torch.autograd.grad(strategy.loss(client, batch), list(client.model.parameters()))[0]
    assert gradient.isfinite().all()


def test_a_run_says_where_nobody_weighs_anything() -> None:
    assert not list(FedAMP().remarks(10)) and not list(FedAMP(sigma=50.0).remarks(10))
    (line,) = FedAMP(sigma=1e6, alpha=1.0).remarks(10)
    assert "9e-06 together" in line
    (line,) = FedAMP(sigma=1.0, alpha=1.0).remarks(10)
    assert "squared distance of 7 " in line


def test_without_the_pull_its_models_are_those_of_local(tiny: dict[str, Any], tmp_path: Any) -> None:
    figures = []
    for name in ("local", "fedamp strategy.lam=0", "fedamp"):
        changes = ["federation.participation=1", "evaluation.every=2"]
        run = fedlt.run(tiny, *f"strategy={name}".split(), *changes, out=tmp_path, backend="inline")
        figures.append([run.final[f"personal/{figure}"] for figure in ("accuracy", "nll")])
    assert figures[0] == figures[1] != figures[2]
    assert np.isfinite(figures).all()
