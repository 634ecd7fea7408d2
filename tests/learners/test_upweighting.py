"""Upsampling and upweighting by classes and by domains: hand-sized weights, one objective, the variance theorem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.samplers import grouped
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learner import Learner
from fedlt.learners.resampling import Resampling
from fedlt.learners.upweighting import Upweighting, group_weights
from fedlt.nn.net import Net

Y = np.repeat([0, 1, 2, 3], [5, 4, 2, 1])
X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
TASK = Task("single", 4, (4,), parents=np.array([0, 0, 1, 1]))  # nine samples of one domain, three of the other


@pytest.fixture
def site(make_client: Any) -> Any:
    def make(learner: Learner) -> Any:
        torch.manual_seed(0)
        net = Net(nn.Identity(), nn.Linear(4, 4), 4)
        learner.build(net, TASK)
        found = make_client(net, X, Y, Local(epochs=1, batch_size=12, lr=0.1), learner=learner)
        found.task = TASK
        return found

    return make


def test_weights_by_hand() -> None:
    """Of 9, 3 and no samples, by square roots: (3 / 4.73) / (9 / 12) and (1.73 / 4.73) / (3 / 12)."""
    assert group_weights(torch.tensor([9.0, 3.0, 0.0]), 2.0).tolist() == pytest.approx([0.8453, 1.4641, 0.0], abs=1e-4)
    assert group_weights(torch.tensor([9.0, 3.0]), 1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("by", ["class", "parent"])
def test_the_mean_gradient_of_draws_is_that_of_weights(site: Any, by: Any) -> None:
    """Over the chance of each sample to be drawn: the two have one objective."""
    drawing, weighing = site(Resampling(power=0.5, by=by)), site(Upweighting(2.0, by))
    group, counts = grouped(drawing, by)
    chances = (counts**0.5 / (counts**0.5).sum() / counts)[group]
    weights = group_weights(torch.tensor(counts, dtype=torch.float32), 2.0).numpy()[group]
    assert weights / 12 == pytest.approx(chances, rel=1e-6)

    loss = weighing.learner.loss(weighing, weighing.data.batch(torch.arange(12)))
    logits = weighing.model(torch.as_tensor(X)).detach()
    nll = nn.functional.cross_entropy(logits, torch.as_tensor(Y), reduction="none").numpy()
    assert loss.item() == pytest.approx((chances * nll).sum(), rel=1e-5)


def test_domains_are_drawn_as_often_as_their_temperature_says(site: Any) -> None:
    """Balanced, the domain of three samples has half of the draws, and its class of one sample a third of that."""
    positions = site(Resampling(by="parent")).positions(20_000)
    assert (Y[positions] >= 2).mean() == pytest.approx(1 / 2, abs=0.015)
    assert (Y[positions] == 3).mean() == pytest.approx(1 / 6, abs=0.015)


@pytest.mark.parametrize(("temperature", "ratio"), [(1.0, 1.0), (2.0, 1.486), (3.0, 2.207)])
def test_weights_have_the_variance_of_the_theorem(temperature: float, ratio: float) -> None:
    """Mean squared weight, sum of p(t)^2 / p(1), for gradients of length 1; CIFAR-10 under an imbalance of 100."""
    counts = torch.tensor([5000.0, 2997.0, 1796.0, 1077.0, 645.0, 387.0, 232.0, 139.0, 83.0, 50.0])
    weights = group_weights(counts, temperature)
    assert float((counts * weights**2).sum() / counts.sum()) == pytest.approx(ratio, abs=2e-3)


@pytest.mark.parametrize("learner", [Resampling(by="parent"), Upweighting(by="parent")])
def test_domains_want_a_tree_of_classes(learner: Learner) -> None:
    with pytest.raises(ScenarioError, match="by: parent needs a tree of classes"):
        learner.build(Net(nn.Identity(), nn.Linear(4, 4), 4), replace(TASK, parents=None))
