"""CReFF: class gradients, matching and re-training against NumPy, and what the re-trained head does for the tail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

import fedlt
from fedlt.config.sections import Local
from fedlt.nn.net import Net
from strategies.creff import CReFF

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]


def gradient(x: Array, y: NDArray[np.int64], head: Array) -> Array:
    """Of the mean cross-entropy with respect to [W | b]."""
    extended = np.concatenate([x, np.ones((len(x), 1))], 1)
    scores = np.exp(extended @ head.T)
    return (scores / scores.sum(1, keepdims=True) - np.eye(len(head))[y]).T @ extended / len(x)


EPSILON = 1e-6


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + EPSILON))


def distance(features: Array, real: Array, head: Array, seen: list[int]) -> float:
    total = 0.0
    for c in seen:
        fake = gradient(features[c], np.full(len(features[c]), c), head)
        total += sum(1 - cosine(fake[k, :-1], real[c, k, :-1]) for k in range(len(head)))
        total += 1 - cosine(fake[:, -1], real[c, :, -1])
    return total


def test_a_client_sends_one_exact_gradient_for_each_class_it_has(make_client: Any) -> None:
    rng = np.random.default_rng(0)
    x, y, head = rng.normal(size=(7, 2)), np.array([0, 0, 1, 0, 1, 0, 0]), rng.normal(size=(3, 3))
    client = make_client(Net(nn.Identity(), nn.Linear(2, 3), 2), x, y, Local(epochs=1, batch_size=4, lr=0.1))
    client.class_counts = torch.tensor([5, 2, 0])
    client.received = {"head": torch.from_numpy(head).float()}
    CReFF().fit(client)
    sent = client.extras["gradients"].numpy()
    assert np.allclose(sent[:2], [gradient(x[y == c], y[y == c], head) for c in (0, 1)], atol=1e-6)
    assert np.all(sent[2] == 0)
    assert client.extras["holders"].tolist() == [1, 1, 0]


def test_matching_descends_the_distance_of_the_gradients() -> None:
    """One step against central differences; the features of a class that nobody holds stay where they are."""
    rng = np.random.default_rng(1)
    features, real, head = rng.normal(size=(3, 2, 2)), rng.normal(size=(3, 3, 3)), rng.normal(size=(3, 3))
    expected = features.copy()
    for index in np.ndindex(*features.shape):
        ends = []
        for step in (1e-5, -1e-5):
            moved = features.copy()
            moved[index] += step
            ends.append(distance(moved, real, head, [0, 2]))
        expected[index] -= 0.3 * (ends[0] - ends[1]) / 2e-5
    seen = torch.tensor([True, False, True])
    tensors = (torch.from_numpy(value) for value in (features, real))
    matched = CReFF(match_steps=1, match_lr=0.3).match(*tensors, seen, torch.from_numpy(head)).numpy()
    assert np.allclose(matched, expected, atol=1e-6)
    assert np.all(matched[1] == features[1])
    assert np.abs(matched - features).max() > 0.05
    many = CReFF(match_steps=50, match_lr=0.3).match(
        torch.from_numpy(features), torch.from_numpy(real), seen, torch.from_numpy(head)
    )
    assert distance(many.numpy(), real, head, [0, 2]) < 0.8 * distance(features, real, head, [0, 2])


@pytest.mark.parametrize("epsilon", [1e-6, 0.0])
def test_the_step_of_matching_is_that_of_autograd(epsilon: float) -> None:
    """PyTorch's own way to it: differentiate the cross-entropy by the head, and a distance of that by the features."""
    rng = np.random.default_rng(4)
    features, real, head = (torch.from_numpy(rng.normal(size=size)) for size in ((4, 5, 3), (4, 4, 4), (4, 4)))
    real[1, 2] = 0  # a class that the head has not mixed up with this one
    leaf = features.clone().requires_grad_()
    total = torch.zeros(())
    for label, own in enumerate(leaf):
        weights = head.clone().requires_grad_()
        loss = F.cross_entropy(F.linear(own, weights[:, :-1], weights[:, -1]), torch.full((5,), label))
        (fake,) = torch.autograd.grad(loss, weights, create_graph=True)
        for one, other in [*zip(fake[:, :-1], real[label, :, :-1], strict=True), (fake[:, -1], real[label, :, -1])]:
            total = total - one @ other / (one.norm() * other.norm() + max(epsilon, 1e-16))
    (slope,) = torch.autograd.grad(total, leaf)
    strategy = CReFF(match_steps=1, match_lr=1.0, epsilon=epsilon)
    found = features - strategy.match(features, real, torch.ones(4, dtype=torch.bool), head)
    assert torch.allclose(found, slope, rtol=0, atol=1e-6)
    assert slope.abs().max() > 0.01


def test_vanishing_gradients_hardly_move_the_features() -> None:
    """Norms 1e-4: the product is a hundredth of epsilon, so that `real` draws with 1 / 101 of the cosine's force."""
    real, fake = torch.tensor([1e-4, 0.0]), torch.tensor([0.0, 1e-4])
    assert CReFF(epsilon=0.0).slope(fake, real).tolist() == pytest.approx([-1e4, 0.0])
    assert CReFF().slope(fake, real).tolist() == pytest.approx([-1e4 / 101, 0.0])
    assert CReFF().slope(1e4 * fake, 1e4 * real).tolist() == pytest.approx([-1.0, 0.0], abs=1e-5)


@pytest.mark.parametrize("epsilon", [1e-6, 0.0])
def test_no_direction_is_divided_by_zero(epsilon: float) -> None:
    nothing, some = torch.zeros(2), torch.tensor([1.0, 2.0])
    for fake, real in ((nothing, some), (some, nothing), (nothing, nothing)):
        assert CReFF(epsilon=epsilon).slope(fake, real).isfinite().all()


def test_retraining_is_softmax_regression_from_a_fresh_head() -> None:
    features = np.random.default_rng(2).normal(size=(3, 4, 2))
    strategy = CReFF(head_epochs=2, head_lr=0.5, head_batch=5)
    found = strategy.retrain(torch.from_numpy(features), np.random.default_rng(3)).numpy()
    rng, x, y = np.random.default_rng(3), features.reshape(12, 2), np.repeat([0, 1, 2], 4)
    head = rng.uniform(-1, 1, (3, 3)) / np.sqrt(2)
    for _ in range(2):
        order = rng.permutation(12)
        for rows in (order[:5], order[5:10], order[10:]):
            head = head - 0.5 * gradient(x[rows], y[rows], head)
    assert np.allclose(found, head, atol=1e-9)


def test_the_retrained_head_serves_the_tail_better_than_the_averaged_one(tiny: Any, tmp_path: Path) -> None:
    overrides = ["federation.rounds=8", "federation.participation=1", "evaluation.every=8", "local.epochs=2"]
    small = ["strategy.features=20", "strategy.head_epochs=60", "strategy.head_lr=0.05"]
    run = fedlt.run(tiny, *overrides, "strategy=creff", *small, out=tmp_path)
    assert run.final["generic/few"] > run.final["generic[averaged]/few"] + 0.1
    assert run.final["generic/accuracy"] > run.final["generic[averaged]/accuracy"] > 0.5
