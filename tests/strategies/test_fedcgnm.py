"""FedCGNM: groups, direction and steps by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
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


def test_a_step_goes_along_the_sum_of_unit_momenta(make_client: Any) -> None:
    """Two passes of one batch of three classes in two groups, in NumPy: gradients by group, momenta, unit lengths."""
    x, y = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0], [0.7, 0.2]]), np.array([0, 0, 0, 1])
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    client = make_client(net, x, y, Local(epochs=2, batch_size=4, lr=0.2, momentum=0.0))
    client.class_counts = torch.tensor([3, 1, 0])
    start = np.column_stack([p.detach().double().numpy() for p in (net.head.weight, net.head.bias)])
    FedCGNM(beta=0.7).fit(client)

    weight, momenta, extended = start.copy(), [np.zeros((3, 3)), np.zeros((3, 3))], np.column_stack([x, np.ones(4)])
    for _ in range(2):
        scores = np.exp(extended @ weight.T)
        error = scores / scores.sum(1, keepdims=True) - np.eye(3)[y]
        for group in (0, 1):
            gradient = error[y == group].T @ extended[y == group] / (y == group).sum()
            momenta[group] = 0.7 * momenta[group] + 0.3 * gradient
        weight = weight - 0.2 * sum(momentum / np.linalg.norm(momentum) for momentum in momenta)
    found = np.column_stack([p.detach().numpy() for p in (net.head.weight, net.head.bias)])
    assert np.allclose(found, weight, atol=1e-5)
    assert np.linalg.norm(found - start) <= 2 * 0.2 * 2 + 1e-6


def test_a_group_that_a_batch_lacks_keeps_its_momentum(make_client: Any) -> None:
    """One weight for two classes and batches of one sample: without momentum, steps of -0.1 and 0.1 + -0.1 or so.

    The first batch knows its own group alone, a step of length lr; with the second both groups count, and their
    gradients are opposite, so that the sum is zero.
    """
    net = Net(nn.Identity(), nn.Linear(1, 2, bias=False), 1)
    client = make_client(net, [[1.0], [1.0], [1.0]], [0, 0, 1], Local(epochs=1, batch_size=1, lr=0.1, momentum=0.0))
    client.class_counts = torch.tensor([2, 1])
    before = client.vector.clone()
    FedCGNM(beta=0.0).fit(client)
    drawn = np.random.default_rng(0)
    drawn.integers(2**62)  # of the augmentation
    alike = [[0, 0, 1][position] for position in drawn.permutation(3)]
    lengths = 0.1 * (1 if alike[0] != alike[1] else 2)
    assert (client.vector - before).norm().item() == pytest.approx(lengths, abs=1e-6)
