"""Heads in closed form: those of scikit-learn on all data, from sums over clients, in one exchange."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import NearestCentroid
from torch import Tensor, nn

import fedlt
from fedlt.config.sections import Local
from fedlt.nn.net import Net
from fedlt.strategy import Update
from strategies.closed_form import ABSENT, ClosedForm


def long_tailed() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [60, 20, 5])
    return (rng.normal(size=(85, 4)) + 1.5 * rng.normal(size=(3, 4))[y]).astype(np.float32), y


def federated(make_client: Any, clients: int, **fields: Any) -> Tensor:
    """[C, D + 1] the head of so many clients, who hold classes by turns."""
    strategy, updates = ClosedForm(**fields), []
    x, y = long_tailed()
    for rows in np.array_split(np.argsort(y, kind="stable"), clients):
        client = make_client(Net(nn.Identity(), nn.Linear(4, 3), 4), x[rows], y[rows], Local())
        client.task = SimpleNamespace(num_classes=3, class_counts=np.bincount(y, minlength=3))
        strategy.conclude(client)
        updates.append(Update((0,), 1.0, torch.empty(0), client.extras))
    server: Any = SimpleNamespace(weights=torch.zeros(1, dtype=torch.float64), outbox={})
    strategy.concluded(server, updates)
    head: Tensor = server.outbox["head"]
    return head


def scores(head: Tensor) -> np.ndarray:
    x, _ = long_tailed()
    return x.astype(float) @ head[:, :-1].numpy().T + head[:, -1].numpy()


@pytest.mark.parametrize("balanced", [True, False])
def test_ridge_is_scikit_learns(make_client: Any, balanced: bool) -> None:
    x, y = long_tailed()
    oracle = RidgeClassifier(alpha=2.0, class_weight="balanced" if balanced else None).fit(x.astype(float), y)
    found = scores(federated(make_client, 7, ridge=2.0, balanced=balanced))
    assert np.abs(found - oracle.decision_function(x)).max() < 1e-6


@pytest.mark.parametrize("balanced", [True, False])
def test_gaussians_are_scikit_learns(make_client: Any, balanced: bool) -> None:
    x, y = long_tailed()
    priors = np.full(3, 1 / 3) if balanced else None
    plain = LinearDiscriminantAnalysis(solver="lsqr", priors=priors).fit(x.astype(float), y)
    exact = scores(federated(make_client, 7, head="gaussian", shrinkage=0.0, balanced=balanced))
    mine = np.exp(exact - exact.max(1, keepdims=True))
    assert np.abs(mine / mine.sum(1, keepdims=True) - plain.predict_proba(x)).max() < 1e-6
    shrunk = scores(federated(make_client, 7, head="gaussian", shrinkage=1.0, balanced=True))
    assert (shrunk.argmax(1) == NearestCentroid().fit(x, y).predict(x)).all()


def test_means_are_scikit_learns(make_client: Any) -> None:
    x, y = long_tailed()
    found = scores(federated(make_client, 7, head="nearest_mean"))
    assert (found.argmax(1) == NearestCentroid().fit(x, y).predict(x)).all()


@pytest.mark.parametrize("head", ["ridge", "gaussian", "nearest_mean"])
def test_clients_make_no_difference(make_client: Any, head: str) -> None:
    one, many = (federated(make_client, count, head=head) for count in (1, 17))
    assert (one - many).abs().max() < 1e-9 * one.abs().max()
    other = federated(make_client, 1, head=head, balanced=False)
    assert head == "nearest_mean" or (one - other).abs().max() > 1e-3


def test_a_class_that_nobody_has_is_never_predicted() -> None:
    weights, sums = torch.tensor([4.0, 0.0]), torch.tensor([[4.0, 0.0], [0.0, 0.0]])
    for head in ("ridge", "gaussian", "nearest_mean"):
        found = ClosedForm(head=head).solved(weights, sums, torch.eye(2) * 6)  # type: ignore[arg-type]
        assert found[1].tolist() == [0, 0, ABSENT] and found.isfinite().all()


def test_one_exchange_gives_the_head_of_all_data(tiny: dict[str, Any], tmp_path: Path) -> None:
    """On the pixels themselves, with one round in which nothing is trained."""
    words = ["federation.rounds=1", "model={name: mlp, depth: 0}"]
    run = fedlt.run(tiny, "strategy={name: closed_form, train: false}", *words, out=tmp_path)
    kept = run.features()
    oracle = RidgeClassifier(class_weight="balanced").fit(kept.train.features.astype(float), kept.train.labels)
    assert run.final["generic/accuracy"] == pytest.approx(oracle.score(kept.test.features, kept.test.labels), abs=1e-9)
    (row,) = run.rounds.itertuples()
    model, sums = 3 * 4 * 650, 6 * 8 * (10 + 10 * 64 + 64 * 64)  # of the cohort, and of every client, once
    assert row.bytes_up == model + sums and row.forward_samples == len(kept.train)
    assert run.final["generic/accuracy"] > 0.6 > 0.4 > run.final["generic[averaged]/accuracy"]
    trained = fedlt.run(tiny, "strategy=closed_form", *words, out=tmp_path)
    assert trained.final["generic/accuracy"] == run.final["generic/accuracy"]  # no backbone to train
    assert trained.final["generic[averaged]/accuracy"] != run.final["generic[averaged]/accuracy"]
