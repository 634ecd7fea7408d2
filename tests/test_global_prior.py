"""FedIR and logit adjustment by the global prior against NumPy, and what they do on skewed clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlt
from fedlt.nn.net import Net
from fedlt.scenario import Local
from fedlt.strategy import Strategy
from fedlt.task import Task
from strategies.fedir import FedIR
from strategies.logit_adjustment import LogitAdjustment

X = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0], [-1.0, 1.0]])
Y = np.array([0, 0, 0, 1])  # the client's counts are 3, 1, 0


def head_after(make_client: Any, strategy: Strategy, everywhere: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """[W | b] of a linear model, before and after one step of rate 0.5 on all four samples."""
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    client = make_client(net, X, Y, Local(epochs=1, batch_size=4, lr=0.5, momentum=0.0))
    client.class_counts = torch.tensor([3, 1, 0])
    client.task = Task("single", 3, (2,), np.array(everywhere))
    before, after = np.zeros((3, 3)), np.zeros((3, 3))
    for step, head in enumerate((before, after)):
        if step:
            strategy.fit(client)
        head[:, :2], head[:, 2] = net.head.weight.detach().numpy(), net.head.bias.detach().numpy()
    return before, after


def softmax_errors(head: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    extended = np.concatenate([X, np.ones((4, 1))], 1)
    scores = np.exp(extended @ head.T + shift)
    return scores / scores.sum(1, keepdims=True) - np.eye(3)[Y], extended


def test_fedir_weighs_by_the_ratio_of_global_to_local_counts(make_client: Any) -> None:
    """60 / 3 = 20 and 50 / 1 = 50, normalised over the batch."""
    before, after = head_after(make_client, FedIR(), [60, 50, 0])
    error, extended = softmax_errors(before, np.zeros(3))
    weights = np.array([20, 20, 20, 50]) / 110
    assert np.allclose(after, before - 0.5 * (weights[:, None] * error).T @ extended, atol=1e-6)


def test_logit_adjustment_in_training_adds_the_log_of_the_global_shares(make_client: Any) -> None:
    """Counts 60, 20, 0: the class without samples counts as if it had one, so the shares are n / 81."""
    before, after = head_after(make_client, LogitAdjustment(tau=1.5), [60, 20, 0])
    error, extended = softmax_errors(before, 1.5 * np.log(np.array([60, 20, 1]) / 81))
    assert np.allclose(after, before - 0.5 * error.T @ extended / 4, atol=1e-6)


def test_logit_adjustment_in_prediction_takes_it_from_the_logits() -> None:
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    strategy, x = LogitAdjustment(tau=1.5, when="prediction"), torch.from_numpy(X).float()
    found = strategy.predict(net, Task("single", 3, (2,), np.array([60, 20, 0])), x)
    assert list(found) == ["adjusted", "plain"]
    shift = 1.5 * np.log(np.array([60, 20, 1]) / 81)
    assert torch.equal(found["plain"], net(x))
    assert np.allclose(found["adjusted"].detach().numpy(), net(x).detach().numpy() - shift, atol=1e-6)


def test_fedir_fits_what_is_rarer_here_than_elsewhere_sooner(train_one: Any) -> None:
    """Client 4 has one sample of class 5 of the union's 16, and 23 of class 0 of its 60."""
    fitted = {}
    for strategy in ("fedavg", "fedir"):
        worker, _, _ = train_one(4, f"strategy={strategy}", "local.epochs=5")
        rows = torch.from_numpy(worker.federation.clients[4])
        y = worker.train_targets[rows]
        with torch.no_grad():
            probability = worker.model(worker.train_inputs.take(rows)).softmax(1)
        fitted[strategy] = [probability[y == c, c].mean().item() for c in (5, 0)]
    assert fitted["fedir"][0] > 5 * fitted["fedavg"][0]
    assert fitted["fedir"][1] < fitted["fedavg"][1]


@pytest.mark.parametrize("when", ["training", "prediction"])
def test_the_tail_gains_over_fedavg_by_the_adjustment(tiny: dict[str, Any], tmp_path: Path, when: str) -> None:
    overrides = ["federation.rounds=10", "federation.participation=1", "evaluation.every=10"]
    plain = fedlt.run(tiny, *overrides, out=tmp_path)
    run = fedlt.run(tiny, *overrides, "strategy=logit_adjustment", f"strategy.when={when}", out=tmp_path)
    assert run.final["generic/few"] > plain.final["generic/few"] + 0.1
    if when == "prediction":
        assert run.summary["model_hash"] == plain.summary["model_hash"]
        assert run.final["generic[plain]/accuracy"] == plain.final["generic/accuracy"]
