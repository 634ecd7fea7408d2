"""FedPuReL: temperatures, purified steps and the two branches by hand; without purifying it is FedAvg."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import fedlt
from fedlt.blocks.zero_shot import VECTORS, begin_vectors, collect, cosines
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client
from strategies.fedpurel import FedPuReL, divergence, entropy, purified, temperature

TEACHER, STUDENT = torch.tensor([[4.0, 1.0, 0.0]]).double(), torch.tensor([[1.0, 0.5, 0.0]]).double()


def test_temperatures_give_both_the_mean_of_the_entropies() -> None:
    assert entropy(TEACHER).item() == pytest.approx(0.27431, abs=1e-5)
    assert entropy(STUDENT).item() == pytest.approx(1.02019, abs=1e-5)
    level = (entropy(TEACHER) + entropy(STUDENT)) / 2
    assert level.item() == pytest.approx(0.64725, abs=1e-5)
    assert temperature(TEACHER, level).item() == pytest.approx(1.68937, abs=3e-5)  # halved 20 times: within 1e-5
    assert temperature(STUDENT, level).item() == pytest.approx(0.34803, abs=3e-5)
    assert divergence(TEACHER, STUDENT).item() == pytest.approx(0.016428, abs=2e-6)


def test_only_what_runs_against_the_guide_is_taken_out() -> None:
    slope, guide = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 3.0])
    assert purified(slope, guide, 1.0).tolist() == [1, 0]
    assert purified(slope, guide, 0.5).tolist() == [1, -1]
    assert purified(slope, -guide, 1.0).tolist() == [1, -2]
    assert purified(slope, 0 * guide, 1.0).tolist() == [1, -2]


X, Y = np.array([[1.0, 0.2], [-0.3, 1.0], [0.8, 0.9]]), np.array([0, 1, 0])
ONE_STEP = Local(epochs=1, batch_size=3, lr=0.5, momentum=0.0)


def make(make_client: Any, strategy: FedPuReL, vectors: Tensor, x: Any = X, y: Any = Y) -> Client:
    """A client of three classes, of whose third it has no sample, whose encoder changes nothing."""
    torch.manual_seed(0)
    net, task = Net(nn.Identity(), nn.Linear(2, 3), 2), Task("single", 3, (2,))
    strategy.build(net, task)
    client: Client = make_client(net, x, y, ONE_STEP, private=strategy.private, frozen=strategy.frozen)
    client.class_counts, client.task = torch.bincount(torch.as_tensor(y), minlength=3), task
    client.received = {VECTORS: vectors}
    return client


def test_a_step_of_the_global_branch_is_purified_tensor_by_tensor(make_client: Any) -> None:
    """Class vectors that call every sample another class than it has: most of the gradient runs against them."""
    vectors = torch.tensor([[-1.0, 0.1], [0.0, -1.0], [1.0, 1.0]])
    client = make(make_client, FedPuReL(), vectors)
    weights = [w.detach().clone().requires_grad_() for w in (client.model.head.weight, client.model.head.bias)]
    FedPuReL().fit(client)

    x, y = torch.tensor(X).float(), torch.tensor(Y)
    logits = F.linear(x, *weights)
    slopes = torch.autograd.grad(F.cross_entropy(logits, y), weights, retain_graph=True)
    guides = torch.autograd.grad(divergence(cosines(x, vectors), logits), weights)
    products = [float((slope * guide).sum()) for slope, guide in zip(slopes, guides, strict=True)]
    assert min(products) < 0, "the example has nothing to purify"
    for name, w, slope, guide, product in zip(("weight", "bias"), weights, slopes, guides, products, strict=True):
        clean = slope - min(product, 0) / guide.square().sum() * guide
        assert torch.allclose(client.model.part(f"head.{name}"), w - 0.5 * clean, atol=1e-6)


def test_the_private_branch_learns_beside_the_received_one(make_client: Any) -> None:
    client = make(make_client, FedPuReL(alpha=0.25), torch.zeros(3, 2))
    x, y, received = torch.tensor(X).float(), torch.tensor(Y), client.model(torch.tensor(X).float()).detach()
    FedPuReL(alpha=0.25).fit(client)

    own = torch.zeros(3, 3, requires_grad=True)
    loss = 0.25 * F.cross_entropy(own, y) + 0.75 * F.cross_entropy(own + received, y)
    (error,) = torch.autograd.grad(loss, own)
    assert torch.allclose(client.model.part("residual.head.weight"), -0.5 * error.T @ x, atol=1e-6)
    found = FedPuReL().personal(client, x)
    assert torch.equal(found["sum"], found["global"] + found["private"])
    assert torch.equal(found["global"], client.model(x))


def test_a_client_that_was_never_sampled_has_the_global_branch(make_client: Any) -> None:
    client = make(make_client, FedPuReL(), torch.zeros(3, 2))
    found = FedPuReL().personal(client, torch.tensor(X).float())
    assert torch.equal(found["sum"], found["global"])


def test_class_means_of_the_initial_encoder_stand_for_vectors(make_client: Any) -> None:
    """Clients count alike, in every round; a class that none has sent has no vector, and is not taught."""
    server: Any = SimpleNamespace(task=Task("single", 3, (2,)), weights=torch.zeros(1), state={}, outbox={})
    server.model = SimpleNamespace(feature_dim=2)
    begin_vectors(server)
    assert not server.outbox[VECTORS].any()

    for y in (Y, np.array([0, 0, 0])):
        client = make(make_client, FedPuReL(), server.outbox[VECTORS], y=y)
        FedPuReL().fit(client)
        collect(server, client.extras)
    first, second = X[[0, 2]].mean(0), X.mean(0)
    expected = np.stack([(first + second) / 2, X[1], [0, 0]])
    assert np.allclose(server.outbox[VECTORS], expected, atol=1e-6)

    given: Any = SimpleNamespace(task=Task("single", 3, (2,), class_vectors=torch.ones(3, 2)), weights=torch.zeros(1))
    given.state, given.outbox, given.model = {}, {}, server.model
    begin_vectors(given)
    assert torch.equal(given.outbox[VECTORS], torch.ones(3, 2))


def test_a_client_sends_no_means_where_vectors_are_given(make_client: Any) -> None:
    client = make(make_client, FedPuReL(), torch.ones(3, 2))
    client.task = Task("single", 3, (2,), class_vectors=torch.ones(3, 2))
    FedPuReL().fit(client)
    assert not client.extras


@pytest.mark.slow
def test_without_purifying_the_global_branch_is_fedavgs_bit_for_bit(tiny: Any, tmp_path: Path) -> None:
    runs = {
        name: fedlt.run(tiny, f"strategy={text}", "federation.rounds=3", out=tmp_path, backend="inline")
        for name, text in (("plain", "fedavg"), ("off", "{name: fedpurel, purify: 0}"), ("on", "fedpurel"))
    }
    held = {name: load_file(run.folder / "model.safetensors") for name, run in runs.items()}
    assert all(torch.equal(held["off"][key], held["plain"][key]) for key in held["plain"])
    assert not all(torch.equal(held["on"][key], held["plain"][key]) for key in held["plain"])
    assert runs["on"].final["generic[teacher]/accuracy"] > 0.3


@pytest.mark.slow
def test_a_cohort_of_one_runs_finitely(tiny: Any, tmp_path: Path) -> None:
    run = fedlt.run(tiny, "strategy=fedpurel", "federation.participation=0.1", out=tmp_path, backend="inline")
    assert np.isfinite([value for key, value in run.final.items() if "accuracy" in key]).all()
