"""FedDisco: distances and weights by hand, and the weighted mean that comes of them."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.strategy import Server, Update
from strategies.feddisco import FedDisco


def served(strategy: FedDisco, samples: list[float], distances: list[float], ends: list[list[float]]) -> Tensor:
    """The server's weights after clients with these samples, distances and models [2]."""
    net = Net(nn.Identity(), nn.Linear(2, 1, bias=False), 2)
    server = Server(net, Flat(net), Task("single", 2, (2,)))
    each = zip(samples, distances, ends, strict=True)
    strategy.aggregate(
        server,
        [
            Update((k,), n, n * torch.tensor(end), values={"distance": torch.tensor([d])})
            for k, (n, d, end) in enumerate(each)
        ],
    )
    return server.weights.clone()


@pytest.mark.parametrize(
    ("distance", "skewed", "single"),
    [("kl", 0.75 * math.log(3) + 0.25 * math.log(1), math.log(4)), ("l1", 1.0, 1.5), ("l2", 0.25**0.5 * 1.2247, 0.866)],
)
def test_the_distance_from_equal_shares(distance: Literal["kl", "l1", "l2"], skewed: float, single: float) -> None:
    """Shares 0.75, 0.25, 0, 0 and 1, 0, 0, 0 of four classes; equal ones are 0 away."""
    strategy = FedDisco(distance=distance)
    assert float(strategy.from_equal(torch.tensor([3, 1, 0, 0]))) == pytest.approx(skewed, abs=1e-3)
    assert float(strategy.from_equal(torch.tensor([7, 0, 0, 0]))) == pytest.approx(single, abs=1e-3)
    assert float(strategy.from_equal(torch.tensor([2, 2, 2, 2]))) == pytest.approx(0, abs=1e-6)


def test_a_client_sends_its_distance_and_weighs_its_samples(make_client: Any) -> None:
    client = make_client(Net(nn.Identity(), nn.Linear(1, 2), 1), np.ones((4, 1)), [0, 0, 0, 1], Local(lr=0.1))
    strategy = FedDisco(distance="l1")
    strategy.fit(client)
    assert float(client.values["distance"]) == 0.5 and strategy.weight(client) == 4


def test_weights_fall_with_the_distance_and_end_at_zero() -> None:
    """Shares .75, .125, .125 and, as distances, .2, .2, .6 of the sum: .75, .125, -.075 with a = .5 and b = .1."""
    strategy = FedDisco(a=0.5, b=0.1)
    samples, distances = torch.tensor([6.0, 1.0, 1.0]), torch.tensor([0.4, 0.4, 1.2])
    assert strategy.weights(samples, distances).tolist() == pytest.approx([0.75 / 0.875, 0.125 / 0.875, 0])
    unscaled = FedDisco(a=0.5, b=0.1, distance="l2").weights(samples, torch.tensor([0.2, 0.1, 0.7]))
    assert unscaled.tolist() == pytest.approx([0.75 / 0.925, 0.175 / 0.925, 0])


def test_the_model_is_the_mean_by_these_weights() -> None:
    found = served(FedDisco(), [6.0, 1.0, 1.0], [0.4, 0.4, 1.2], [[1.0, 0.0], [8.0, 7.0], [99.0, 99.0]])
    assert found.tolist() == pytest.approx([2.0, 1.0])


def test_samples_alone_count_where_no_weight_is_left_or_all_clients_are_even() -> None:
    ends = [[4.0, 0.0], [0.0, 4.0]]
    assert served(FedDisco(a=9, b=0), [3.0, 1.0], [1.0, 1.0], ends).tolist() == pytest.approx([3, 1])
    assert served(FedDisco(b=0), [3.0, 1.0], [0.0, 0.0], ends).tolist() == pytest.approx([3, 1])
    assert served(FedDisco(), [3.0], [1.4], ends[:1]).tolist() == pytest.approx([4, 0]), "a cohort of one"
