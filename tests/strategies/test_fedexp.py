"""FedExP: the server's step by hand, and the mean of the last two models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.strategy import Server, Update
from strategies.fedexp import FedExP


def served(strategy: FedExP, ends: list[list[float]], round: int = 1, rounds: int = 3) -> Tensor:
    """The model (two weights and a buffer), from 0, after clients that weigh 1, 3, ..., and ended there."""
    net = Net(nn.Identity(), nn.Linear(2, 1, bias=False), 2)
    net.register_buffer("variance", torch.ones(1))
    server = Server(net, Flat(net), Task("single", 2, (2,), rounds=rounds), round=round)
    server.weights = torch.zeros(3)
    updates = []
    for number, end in enumerate(ends):
        weight, vector = 1.0 + 2 * number, torch.tensor(end)
        squares = weight * vector[:2].square().sum()[None]
        updates.append(Update((number,), weight, weight * vector, {"squares": squares}))
    strategy.aggregate(server, updates)
    return server.weights.clone()


def test_changes_that_point_different_ways_are_stepped_beyond() -> None:
    """Changes (4, 0) and (0, 4 / 3) with weights 1/4 and 3/4: mean (1, 1), norms 16 / 4 + 3/4 * 16 / 9 = 16 / 3.

    With epsilon 0.25 and two clients the step is 16 / 3 / (2 (2 + 0.5)); buffers are averaged alone.
    """
    found = served(FedExP(epsilon=0.25), [[4.0, 0.0, 8.0], [0.0, 4 / 3, 4.0]])
    assert found.tolist() == pytest.approx([16 / 15, 16 / 15, 5.0])


def test_the_step_is_never_below_one() -> None:
    """Equal changes would halve it; one client alone, too."""
    for ends in ([[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]], [[1.0, 2.0, 1.0]], [[0.0, 0.0, 1.0]]):
        assert served(FedExP(), ends).tolist() == pytest.approx(ends[0])


def test_the_last_round_leaves_the_mean_of_two_models() -> None:
    """The model before is zero; the buffer is the last one's. A single round has no model before."""
    end = [[1.0, 2.0, 3.0]]
    assert served(FedExP(), end, round=3).tolist() == pytest.approx([0.5, 1.0, 3.0])
    assert served(FedExP(), end, round=2).tolist() == pytest.approx([1.0, 2.0, 3.0])
    assert served(FedExP(average=False), end, round=3).tolist() == pytest.approx([1.0, 2.0, 3.0])
    assert served(FedExP(), end, round=1, rounds=1).tolist() == pytest.approx([1.0, 2.0, 3.0])


def test_a_client_sends_its_squared_change_times_its_weight(make_client: Any) -> None:
    net = Net(nn.Identity(), nn.Linear(2, 2), 2)
    net.register_buffer("variance", torch.ones(1))
    client = make_client(net, np.eye(2), [0, 1], Local(epochs=2, batch_size=2, lr=0.5))
    FedExP().fit(client)
    change = (client.vector[:-1] - client.start).double().numpy()
    assert float(client.extras["squares"]) == pytest.approx(2 * (change**2).sum(), rel=1e-5) and change.any()
