"""pFedFDA: the Gaussian rule, its estimates and the share by hand, and what a client sends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client
from strategies import pfedfda
from strategies.pfedfda import GaussianHead, PFedFDA, estimate, rule, smallest

MEANS, COVARIANCE = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]]), torch.tensor([[2.0, 0.5], [0.5, 1.0]])


def client_of(make_client: Any, x: Any, y: list[int]) -> Client:
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    PFedFDA().build(net, Task("single", 3, (2,)))
    client: Client = make_client(net, x, y, Local(epochs=1, batch_size=8, lr=0.1))
    client.class_counts = torch.bincount(torch.tensor(y), minlength=3)
    client.task = Task("single", 3, (2,))
    net.head.means.copy_(MEANS)  # type: ignore[union-attr, operator]
    net.head.covariance.copy_(COVARIANCE)  # type: ignore[union-attr, operator]
    return client


def test_the_rule_is_that_of_gaussians_with_one_covariance() -> None:
    """Differences of logits are those of the log densities, up to the covariance's shrinking by 1e-4."""
    prior = torch.tensor([0.5, 0.3, 0.2])
    weight, bias = rule(MEANS, COVARIANCE, prior)
    h = np.array([1.0, -2.0])
    logits = weight.numpy() @ h + bias.numpy()
    shrunk = 0.9999 * COVARIANCE.numpy() + 1e-4 * 1.5 * np.eye(2)
    away = h - MEANS.numpy()
    density = -0.5 * np.einsum("ci,ij,cj->c", away, np.linalg.inv(shrunk), away) + np.log(prior.numpy())
    assert np.allclose(logits - logits[0], density - density[0], atol=1e-4)


def test_estimates_fall_back_on_what_was_received() -> None:
    """Class 0 at (1, 0) and (3, 0), class 1 at (0, 2), class 2 absent: scatter (2, 0; 0, 0) over 2, and the ridge."""
    features, y = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0, 1])
    means, covariance = estimate(features, y, MEANS, COVARIANCE, 0.5)
    assert means.tolist() == [[2.0, 0.0], [0.0, 2.0], [5.0, 5.0]]
    assert covariance.tolist() == [[1.5, 0.0], [0.0, 0.5]]
    assert torch.equal(estimate(features[:1], y[:1], MEANS, COVARIANCE, 0.5)[1], COVARIANCE)


def test_the_golden_section_finds_the_valley() -> None:
    assert smallest(lambda x: (x - 0.3) ** 2, 15) == pytest.approx(0.3, abs=1e-3)
    assert smallest(lambda x: -x, 5) == 1.0 and smallest(lambda x: x, 5) == 0.0


@pytest.mark.parametrize(("apart", "low", "high"), [(0.0, 0.0, 0.5), (40.0, 0.5, 1.0)])
def test_a_client_turns_to_its_own_gaussians_where_these_differ(
    make_client: Any, apart: float, low: float, high: float
) -> None:
    """Forty samples of classes 0 and 1 about the received means, or with these exchanged and far away."""
    rng, y = np.random.default_rng(0), [0, 1] * 20
    centres = MEANS.numpy()[y] if not apart else apart * MEANS.numpy()[[1, 0] * 20]
    client = client_of(make_client, centres + rng.normal(size=(40, 2)), y)
    head = client.model.head
    assert isinstance(head, GaussianHead)
    own = estimate(client.features(), client.data.y, MEANS, COVARIANCE, 1.0)
    share = PFedFDA().share(client, client.features(), (MEANS, COVARIANCE))
    assert low <= share <= high
    PFedFDA(trials=1).adapt(client)
    first, second = ((head.means - MEANS) / (own[0] - MEANS))[0].tolist()
    assert first == pytest.approx(second, abs=1e-3) and low - 1e-3 <= first <= high + 1e-3
    assert torch.equal(head.means[2], MEANS[2])


def test_each_half_has_half_of_a_class_and_is_tested_on_the_other(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six samples of class 0 and two of class 1; a half's own Gaussians would fit itself best, and get the share 1."""
    rng, y, seen = np.random.default_rng(4), [0] * 6 + [1] * 2, []
    client = client_of(make_client, MEANS.numpy()[y] + rng.normal(size=(8, 2)), y)

    def watched(features: torch.Tensor, y: torch.Tensor, *more: Any) -> Any:
        seen.append(torch.bincount(y).tolist())
        return estimate(features, y, *more)

    monkeypatch.setattr(pfedfda, "estimate", watched)
    assert PFedFDA(ridge=1e-4).share(client, client.features(), (MEANS, COVARIANCE)) < 0.6
    assert seen == [[3, 1], [3, 1]]


def test_one_sample_takes_what_was_received(make_client: Any) -> None:
    client = client_of(make_client, [[1.0, 1.0]], [1])
    PFedFDA().adapt(client)
    assert torch.equal(client.model.part("head.means"), MEANS)
    logits = PFedFDA().personal(client, torch.zeros(1, 2)) - client.model(torch.zeros(1, 2))
    prior = torch.tensor([1e-4, 1.0001, 1e-4]) / 1.0003
    assert torch.allclose(logits[0], prior.log(), atol=1e-5)


def test_the_body_learns_beneath_the_received_rule(make_client: Any) -> None:
    """One step of a scale s: its slope is that of the loss under the rule with the client's own shares."""
    net = Net(nn.Linear(2, 2, bias=False), nn.Linear(2, 3), 2)
    PFedFDA().build(net, Task("single", 3, (2,)))
    x, y = [[1.0, 2.0], [0.5, -1.0], [-0.5, 0.5]], [0, 1, 0]
    client = make_client(net, x, y, Local(epochs=1, batch_size=3, lr=0.1, momentum=0.0))
    client.class_counts, client.task = torch.tensor([2, 1, 0]), Task("single", 3, (2,))
    net.head.means.copy_(MEANS)  # type: ignore[union-attr, operator]
    net.head.covariance.copy_(COVARIANCE)  # type: ignore[union-attr, operator]
    body = client.flat.tensors["backbone.weight"].clone().requires_grad_()
    prior = torch.tensor([2 / 3 + 1e-4, 1 / 3 + 1e-4, 1e-4]) / 1.0003
    weight, bias = rule(MEANS, COVARIANCE, prior)
    scores = torch.tensor(x) @ body.T @ weight.T + bias
    (slope,) = torch.autograd.grad((scores.logsumexp(1) - scores[[0, 1, 2], y]).mean(), body)
    PFedFDA().fit(client)
    assert torch.allclose(client.flat.tensors["backbone.weight"], body - 0.1 * slope, atol=1e-5)
