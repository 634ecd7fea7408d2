"""FedCGNM: groups, direction and steps by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.site import Site
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net
from strategies.fedcgnm import FedCGNM, direction, grouped


@pytest.mark.parametrize(
    ("counts", "groups", "expected"),
    [
        ([100, 64, 41, 27, 17, 11, 7, 4, 3, 2], 2, [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]),
        ([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50], 2, [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]),
        ([9, 8, 1, 5, 5], 3, [0, 0, 2, 1, 1]),
        ([3, 0, 5], 2, [1, 1, 0]),
        ([0, 5], 3, [0, 0]),
    ],
    ids=["ten", "thousands", "three", "absent", "alone"],
)
def test_groups_are_cut_where_least_is_left_within(counts: list[int], groups: int, expected: list[int]) -> None:
    assert grouped(np.array(counts), groups).tolist() == expected


def test_momenta_of_any_length_count_alike() -> None:
    found = direction([[torch.tensor([3.0]), torch.tensor([4.0])], [torch.tensor([0.0]), torch.tensor([0.5])]])
    assert [part.item() for part in found] == pytest.approx([0.6, 1.8])


class Ordered(CrossEntropy):
    """Samples in their order."""

    def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
        return np.arange(4)


def test_a_step_goes_along_the_sum_of_unit_momenta(make_client: Any) -> None:
    """Two passes of two unequal batches in NumPy: means by group, momenta, unit lengths. The last has one group."""
    x, y = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0], [0.7, 0.2]]), np.array([0, 1, 0, 0])
    net, local = Net(nn.Identity(), nn.Linear(2, 3), 2), Local(epochs=2, batch_size=3, lr=0.2, momentum=0.0)
    client = make_client(net, x, y, local, learner=Ordered())
    client.class_counts = torch.tensor([3, 1, 0])
    start = np.column_stack([p.detach().double().numpy() for p in (net.head.weight, net.head.bias)])
    FedCGNM(beta=0.7).fit(client)

    weight, momenta, extended = start.copy(), [np.zeros((3, 3)), np.zeros((3, 3))], np.column_stack([x, np.ones(4)])
    for part in (slice(3), slice(3, 4)) * 2:
        scores = np.exp(extended[part] @ weight.T)
        error = scores / scores.sum(1, keepdims=True) - np.eye(3)[y[part]]
        for group in set(y[part]):
            gradient = error[y[part] == group].T @ extended[part][y[part] == group] / (y[part] == group).sum()
            momenta[group] = 0.7 * momenta[group] + 0.3 * gradient
        weight = weight - 0.2 * sum(momentum / np.linalg.norm(momentum) for momentum in momenta)
    found = np.column_stack([p.detach().numpy() for p in (net.head.weight, net.head.bias)])
    assert np.allclose(found, weight, atol=1e-5)
    assert np.linalg.norm(found - start) <= 4 * 0.2 * 2 + 1e-6
