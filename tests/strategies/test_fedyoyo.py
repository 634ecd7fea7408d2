"""FedYoYo: loss, shares and effective numbers against NumPy, and what it does for the tail."""

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
from strategies.fedyoyo import FedYoYo, effective_numbers


def log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


@pytest.mark.parametrize(("remix", "kept"), [(False, 0.8), (True, 0.8**4)])
def test_the_loss_adjusts_both_views_and_teaches_where_the_weak_one_is_right(
    make_client: Any, monkeypatch: pytest.MonkeyPatch, remix: bool, kept: float
) -> None:
    """Round 25 of the warm-up's 50, and three steps of it; there were 24 rounds before, and the run has 250."""
    rng = np.random.default_rng(0)
    x, strong, y = 2 * rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), np.array([0, 2, 0, 0, 2, 0])
    net = Net(nn.Identity(), nn.Linear(3, 3), 3)
    client = make_client(net, x, y, Local(epochs=1, batch_size=6, lr=0.1), progress=24 / 250, span=1 / 250)
    client.received, client.num_steps = {"shares": torch.tensor([0.5, 0.3, 0.2])}, 3
    monkeypatch.setattr(type(client), "view", lambda *_: torch.from_numpy(strong).float())
    strategy = FedYoYo(tau=1.3, gamma=0.2, strength=2.0, temperature=1.7, warmup=0.2, remix=remix)
    found = strategy.loss(client, client.data.batch(torch.arange(6))).item()

    shares = kept * np.array([0.5, 0.3, 0.2]) + (1 - kept) * np.array([4, 0, 2]) / 6
    weight, bias = (p.detach().numpy().astype(float) for p in (net.head.weight, net.head.bias))
    views = [part @ weight.T + bias + 1.3 * np.log(shares) for part in (x, strong)]
    entropy = -np.mean([log_softmax(view)[np.arange(6), y] for view in views])
    teacher, student = (log_softmax(view / 1.7) for view in views)
    right = views[0].argmax(1) == y
    assert 0 < right.sum() < 6
    divergence = (np.exp(teacher) * (teacher - student)).sum(1)[right].mean()
    assert np.isclose(found, entropy + 2.0 * 0.5 * divergence, atol=1e-5)


def test_effective_numbers_are_one_over_the_mean_cosine_in_each_batch() -> None:
    rng = np.random.default_rng(1)
    features, y = rng.normal(size=(11, 3)), np.array([0, 0, 1, 0, 2, 1, 0, 0, 1, 0, 0])
    expected = np.zeros(4)
    for batch in (slice(0, 5), slice(5, 10), slice(10, 11)):
        for c in set(y[batch]):
            centred = features[batch][y[batch] == c] - features[y == c].mean(0)
            norms = np.maximum(np.linalg.norm(centred, axis=1), 1e-12)
            cosines = centred @ centred.T / np.outer(norms, norms)
            expected[c] += min(len(centred), 1 / max(cosines.mean(), 1e-6))
    found = effective_numbers(torch.from_numpy(features).float(), torch.from_numpy(y), 4, batch=5).numpy()
    assert np.allclose(found, expected, atol=1e-4)
    assert (found[2], found[3]) == (1, 0)


def test_the_servers_shares_follow_the_effective_numbers() -> None:
    net = Net(nn.Identity(), nn.Linear(2, 1, bias=False), 2)
    server = Server(net, Flat(net), Task("single", 3, (2,), np.ones(3, np.int64)))
    strategy, memory = FedYoYo(memory=0.75), None
    strategy.setup(server)
    assert np.allclose(server.outbox["shares"].numpy(), 1 / 3)
    for sent in ([[4.0, 1.0, 0.0], [2.0, 0.0, 1.0]], [[0.0, 8.0, 0.0], [1.0, 1.0, 1.0]]):
        strategy.aggregate(server, [Update((0,), 1.0, torch.ones(2), {"effective": torch.tensor(e)}) for e in sent])
        now = 1 + np.sum(sent, 0)
        memory = now if memory is None else 0.75 * memory + 0.25 * now
        assert np.allclose(server.outbox["shares"].numpy(), memory / memory.sum(), atol=1e-6)


def test_tabular_inputs_have_no_views() -> None:
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    with pytest.raises(ValueError, match="two views of a sample need images"):
        FedYoYo().build(net, Task("single", 3, (2,), np.ones(3, np.int64)))


@pytest.mark.slow
def test_the_tail_gains_over_fedavg(tiny: dict[str, Any], tmp_path: Path) -> None:
    overrides = ["federation.rounds=12", "federation.participation=1", "evaluation.every=12", "local.epochs=2"]
    few = {}
    for strategy in ("fedavg", "fedyoyo strategy.strong=crop"):
        few[strategy] = fedlt.run(tiny, *overrides, *f"strategy={strategy}".split(), out=tmp_path).final["generic/few"]
    plain, taught = few.values()
    assert taught > plain + 0.1
