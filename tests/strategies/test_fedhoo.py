"""FedHOO: cells, rewards and combinations by hand; a bandit that finds the best rate; two trainings from one start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlt
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update
from strategies.fedhoo import FedHOO, halves, middles


def client_of(make_client: Any) -> Client:
    """Two logits for one input; samples x = 1 of class 0, three times, and x = -1 of class 1."""
    net = Net(nn.Identity(), nn.Linear(1, 2, bias=False), 1)
    x, y = [[1.0], [1.0], [1.0], [-1.0]], [0, 0, 0, 1]
    client: Client = make_client(net, x, y, Local(epochs=5, batch_size=2, lr=0.1))
    return client


def server_of(client: Client) -> Server:
    server = Server(client.model, client.flat, Task("single", 2, (1,)), num_clients=9, validation=client.data)
    FedHOO().setup(server)
    return server


def test_the_first_cells_are_the_halves_and_then_those_of_the_better_one() -> None:
    nothing = np.zeros((0, 3))
    assert FedHOO().cells(nothing) == ((1, 0), (1, 1)) and middles(((1, 0), (1, 1))) == [0.25, 0.75]
    found = FedHOO().cells(np.array([[1, 0, 0.4], [1, 1, 0.9]]))
    assert found == ((2, 2), (2, 3)) and middles(found) == [0.625, 0.875]


def test_a_cell_that_was_played_often_gives_way_to_one_that_was_not() -> None:
    """Bounds by hand with n = 4: the left half 0.5 + sqrt(2 ln 4) + 0.5 = 2.67; the right one, of three plays with the
    mean 0.7, 0.7 + sqrt(2 ln 4 / 3) + 0.5 = 2.16.
    """
    plays = np.array([[1, 0, 0.5], [1, 1, 0.9], [2, 2, 0.6], [2, 3, 0.6]])
    assert FedHOO().cells(plays) == halves(1, 0)
    assert FedHOO(nu=0.0).cells(np.array([[1, 0, 0.0], [1, 1, 2.0], [2, 2, 2.0], [2, 3, 1.9]])) == halves(2, 2)


def test_the_bandit_comes_to_the_best_rate() -> None:
    """Rewards 1 - |rate - 0.8| less noise: the last plays are near 0.8."""
    rng, plays = np.random.default_rng(0), np.zeros((0, 3))
    strategy, tried = FedHOO(), []
    for _ in range(150):
        cells = strategy.cells(plays)
        rates = middles(cells)
        tried += rates
        rewards = [1 - abs(rate - 0.8) + rng.normal(scale=0.05) for rate in rates]
        plays = np.concatenate([plays, [(*cell, reward) for cell, reward in zip(cells, rewards, strict=True)]])
    assert abs(np.median(tried[150:]) - 0.8) < 0.1
    assert np.mean(np.abs(np.array(tried[150:]) - 0.8) < 0.25) > 0.6


def test_the_best_combination_becomes_the_model_and_gains_are_rewards(make_client: Any) -> None:
    """Two clients of weights 1 and 3. A model is right where its first weight is the larger one.

    Client 5 sends -4 and 8, client 6 -1 and -1: the means are -7 / 4 and 5 / 4. The start is right about class 0 alone:
    F1 of 6 / 7 and 0. With 8 it is right: 1. With -4 it is wrong everywhere: 0.
    """
    client = client_of(make_client)
    server = server_of(client)
    server.weights = torch.zeros(2)
    updates = []
    for number, weight, pair in ((5, 1.0, (-4.0, 8.0)), (6, 3.0, (-1.0, -1.0))):
        first, second = (torch.tensor([value, 0.0]) for value in pair)
        updates.append(Update((number,), weight, weight * first, {"second": second}))
    FedHOO().aggregate(server, updates)
    assert server.weights.tolist() == [1.25, 0.0]

    start, plays = 3 / 7, server.state["plays"].tolist()
    wanted = [[5, 1, 0, 0.5 - start / 2], [5, 1, 1, 0.5 + (1 - start) / 2]]
    wanted += [[6, 1, 0, 0.5 + (0.5 - start) / 2], [6, 1, 1, 0.5 + (0.5 - start) / 2]]
    assert np.allclose(plays, wanted, atol=1e-6)
    assert server.letters[5]["rates"].tolist() == [0.625, 0.875]
    assert server.letters[6]["rates"].tolist() == [0.125, 0.375]


def test_both_trainings_begin_at_the_received_model(make_client: Any) -> None:
    """At the rates 0 and 1, alike: the second model is no continuation of the first, and balanced classes make less of
    the frequent one. The input is the same up to its sign, so that steps differ by the draws alone.
    """
    client = client_of(make_client)
    client.vector = torch.zeros(2)
    client.received["rates"] = torch.tensor([0.5, 0.5])
    FedHOO().fit(client)
    first, second = client.vector.clone(), client.extras["second"]
    assert first.norm() > 0
    assert second.norm().item() == pytest.approx(first.norm().item(), rel=0.3)


def test_rate_one_draws_classes_alike_and_rate_zero_as_they_are(make_client: Any) -> None:
    client, drawn = client_of(make_client), []
    client.epoch_size = 4
    client.received["rates"] = torch.tensor([0.0, 1.0])

    class Watched(FedHOO):
        def loss(self, client: Client, batch: Any) -> torch.Tensor:
            drawn.append(batch.y.float().mean().item())
            return super().loss(client, batch)

    client.trainer.local = Local(epochs=200, batch_size=2, lr=0.1)
    Watched().fit(client)
    half = len(drawn) // 2
    assert np.mean(drawn[:half]) == pytest.approx(0.25, abs=0.06)
    assert np.mean(drawn[half:]) == pytest.approx(0.5, abs=0.06)


def test_large_cohorts_and_runs_without_validation_data_are_refused(tiny: Any, tmp_path: Any) -> None:
    tiny["federation"] |= {"clients": 10, "participation": 1.0}
    with pytest.raises(ScenarioError, match=r"federation.participation: .* 2\^10 .* at most 8"):
        fedlt.run(tiny, "strategy=fedhoo", "data.validation.per_class=3", out=tmp_path, backend="inline")
    with pytest.raises(ScenarioError, match=r"data\.validation\.per_class: fedhoo chooses"):
        fedlt.run(tiny, "strategy=fedhoo", "federation.participation=0.5", out=tmp_path, backend="inline")
    assert not list(tmp_path.iterdir())


def test_a_run_gives_finite_figures(tiny: Any, tmp_path: Any) -> None:
    run = fedlt.run(tiny, "strategy=fedhoo", "data.validation.per_class=3", out=tmp_path, backend="inline")
    assert np.isfinite([value for key, value in run.final.items() if "accuracy" in key]).all()
