"""LIFT: what is trained, where the head starts, and a step by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fedlt
from fedlt.blocks.priors import log_prior
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate
from fedlt.data.task import Task
from fedlt.learners.lift import LIFT, width
from fedlt.nn.net import Net
from fedlt.training.assembly import assemble


@pytest.mark.parametrize(
    ("classes", "expected"), [(10, 1), (100, 4), (365, 8), (1000, 32), (8142, 256)], ids=lambda value: str(value)
)
def test_the_width_of_adapters_in_twelve_blocks_is_the_papers(classes: int, expected: int) -> None:
    assert width(classes, 12) == expected


def test_one_place_takes_what_the_blocks_would_share() -> None:
    assert [width(classes, 1) for classes in (2, 10, 100)] == [1, 4, 32]


ADAPTER = {f"backbone.{part}.{what}" for part in ("down", "up") for what in ("weight", "bias")}


@pytest.mark.parametrize(
    ("model", "expected", "inner"),
    [
        ("mlp", ADAPTER, 4),
        ("{name: mlp, freeze: true}", ADAPTER, 4),
        ("{name: mlp, depth: 0}", ADAPTER, 4),
        ("{name: mlp, adapter: {name: mlp, width: 7}}", ADAPTER, 7),
        ("{name: mlp, adapter: bitfit}", {"backbone.1.bias", "backbone.3.bias"}, None),
        ("{name: mlp, freeze: ['1.*']}", {"backbone.3.weight", "backbone.3.bias"}, None),
    ],
    ids=["plain", "frozen", "features", "bottleneck", "bitfit", "a part"],
)
def test_the_adapter_and_the_head_are_trained(tiny: Any, model: str, expected: set[str], inner: int | None) -> None:
    scenario = load_scenario(tiny, [f"model={model}", "learner=lift"])
    parts = assemble(scenario, federate(scenario), torch.device("cpu"))
    assert set(parts.flat.trainable) == expected | {"head.weight"}
    if inner is not None:
        assert len(parts.model.part("backbone.down.weight")) == inner


X, Y = np.array([[1.0, 0.2], [-0.3, 1.0], [0.8, 0.9], [0.2, 0.4]]), np.array([0, 1, 0, 0])


def built(learner: LIFT, vectors: Tensor | None = None) -> Net:
    torch.manual_seed(0)
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    learner.build(net, Task("single", 3, (2,), class_vectors=vectors))
    return net


def test_a_class_starts_at_the_mean_of_its_features_and_then_goes_on(make_client: Any) -> None:
    """The second site has the class 2 that the first one lacks, and finds the others' rows as short as a mean makes
    them.
    """
    net = built(LIFT())
    site = make_client(net, X, Y, Local(epochs=1, batch_size=4, lr=0.1), learner=LIFT())
    site.class_counts = torch.tensor([3, 1, 0])
    with torch.no_grad():
        LIFT().begin(site)
    means = F.normalize(torch.tensor(np.stack([X[Y == 0].mean(0), X[1]])).float())
    assert torch.allclose(net.head.weight[:2], means, atol=1e-6)
    assert not net.head.weight[2].any()

    later = make_client(net, X[:2], np.array([2, 1]), Local(epochs=1, batch_size=4, lr=0.1), learner=LIFT())
    later.class_counts = torch.tensor([0, 1, 1])
    with torch.no_grad():
        net.head.weight.mul_(0.25)
        LIFT().begin(later)
    expected = torch.cat([means, F.normalize(torch.tensor(X[:1]).float())])
    assert torch.allclose(net.head.weight, expected, atol=1e-6)


@pytest.mark.parametrize("tau", [1.0, 0.0])
def test_a_step_leaves_a_class_that_nobody_started_alone(make_client: Any, tau: float) -> None:
    """Its logit is -25, of no gradient, also where the prior is left out; the others take a step by hand."""
    learner = LIFT(tau=tau)
    net = built(learner)
    site = make_client(net, X, Y, Local(epochs=1, batch_size=4, lr=0.1, momentum=0.0), learner=learner)
    site.class_counts = torch.tensor([3, 1, 0])
    with torch.no_grad():
        learner.begin(site)
    start, x = net.head.weight.detach().clone().requires_grad_(), torch.tensor(X).float()
    site.train(learner.loss)

    scores = 25 * F.linear(F.normalize(x), F.normalize(start[:2]))
    logits = torch.cat([scores, torch.full((4, 1), -25.0)], 1) + tau * log_prior(site.class_counts)
    (slope,) = torch.autograd.grad(F.cross_entropy(logits, torch.tensor(Y)), start)
    assert torch.allclose(net.head.weight, start - 0.1 * slope, atol=1e-5)
    assert not net.head.weight[2].any()


def test_given_vectors_are_where_the_head_starts(make_client: Any) -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]])
    net = built(LIFT(), vectors)
    site = make_client(net, X, Y, Local(epochs=1, batch_size=4, lr=0.1), learner=LIFT())
    site.class_counts = torch.tensor([3, 1, 0])
    with torch.no_grad():
        LIFT().begin(site)
    assert torch.allclose(net.head.weight, torch.tensor([[0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedavg", "centralized", "local"])
def test_it_learns_on_features(strategy: str, tiny: Any, tmp_path: Path) -> None:
    """The class means alone have most of it on pixels, and light tuning more."""
    words = "learner=lift", "model={name: mlp, depth: 0}", f"strategy={strategy}"
    run = fedlt.run(tiny, *words, "federation.rounds=4", out=tmp_path, backend="inline")
    key = "personal/accuracy" if strategy == "local" else "generic/accuracy"
    assert run.final[key] > 0.6
