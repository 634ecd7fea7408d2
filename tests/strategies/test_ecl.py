"""ECL: groups of classes and their heads against softmax regression in NumPy."""

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
from fedlt.nn.net import Net
from fedlt.strategy import Client
from strategies.ecl import ECL

LOCAL = Local(epochs=1, batch_size=4, lr=0.1)
X = np.random.default_rng(0).normal(size=(9, 2))
Y = np.array([0, 0, 0, 0, 1, 1, 1, 3, 3])  # class 2 is absent: groups {0, 1} and {3}


def make(make_client: Any, x: Any = X, y: Any = Y) -> Client:
    torch.manual_seed(0)
    client: Client = make_client(Net(nn.Identity(), nn.Linear(2, 4), 2), x, y, LOCAL)
    client.class_counts = torch.bincount(torch.as_tensor(y), minlength=4)
    return client


def descended(head: NDArray[np.float64], classes: list[int], prior: NDArray[np.float64], steps: int) -> Any:
    """The head after so many steps on all samples of these classes."""
    head, rows = head.copy(), np.isin(Y, classes)
    x, place = np.column_stack([X[rows], np.ones(rows.sum())]), np.searchsorted(classes, Y[rows])
    for _ in range(steps):
        scores = np.exp(x @ head[classes].T + prior)
        error = scores / scores.sum(1, keepdims=True) - np.eye(len(classes))[place]
        head[classes] -= 0.2 * error.T @ x / rows.sum()
    return head


def test_each_group_has_its_head_and_the_global_one_is_balanced(make_client: Any) -> None:
    client = make(make_client)
    net = client.model
    start = np.column_stack([part.detach().numpy() for part in (net.head.weight, net.head.bias)]).astype(float)
    strategy = ECL(experts=2, mix=0.25, head_epochs=3, head_lr=0.2, head_batch=9)
    strategy.adapt(client)

    experts = descended(start, [0, 1], np.zeros(2), 3)  # a group of one class has nothing to learn
    balanced = descended(start, [0, 1, 3], np.log([4, 3, 2]), 3)
    assert np.allclose(client.state["head"], 0.75 * balanced + 0.25 * experts, atol=1e-5)
    assert np.allclose(client.state["head"][2], start[2], atol=1e-6)
    assert not np.allclose(experts, balanced, atol=1e-3)

    x = torch.tensor(X).float()
    found = strategy.personal(client, x)
    assert torch.equal(found["global"], net(x))
    assert not torch.allclose(found["experts"], found["global"])


@pytest.mark.parametrize("y", [[1], [1, 1]], ids=["one sample", "one class"])
def test_where_there_is_nothing_to_tell_apart_the_global_head_stays(make_client: Any, y: list[int]) -> None:
    client = make(make_client, X[: len(y)], np.array(y))
    ECL().adapt(client)
    x = torch.tensor(X).float()
    found = ECL().personal(client, x)
    assert torch.allclose(found["experts"], found["global"], atol=1e-6)


@pytest.mark.slow
def test_the_generic_model_is_fedavgs_and_the_personal_ones_are_not(tiny: Any, tmp_path: Path) -> None:
    plain = fedlt.run(tiny, out=tmp_path, backend="inline")
    own = fedlt.run(tiny, "strategy=ecl", out=tmp_path, backend="inline")
    assert own.summary["model_hash"] == plain.summary["model_hash"]
    assert own.final["personal[global]/accuracy"] == plain.final["personal/accuracy"]
    assert own.final["personal/accuracy"] != plain.final["personal/accuracy"]


@pytest.mark.slow
def test_a_cohort_of_one_runs_finitely(tiny: Any, tmp_path: Path) -> None:
    run = fedlt.run(tiny, "strategy=ecl", "federation.participation=0.1", out=tmp_path, backend="inline")
    assert np.isfinite([value for key, value in run.final.items() if "accuracy" in key]).all()
