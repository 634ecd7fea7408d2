"""Softmax regression on given features."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from fedlt.nn.softmax import extend, gradient, regress


def test_the_gradient_is_that_of_autograd() -> None:
    rng = np.random.default_rng(0)
    features, head = torch.from_numpy(rng.normal(size=(6, 2))), torch.from_numpy(rng.normal(size=(3, 3)))
    y, leaf = torch.tensor([0, 2, 2, 1, 0, 0]), head.clone().requires_grad_()
    F.cross_entropy(F.linear(features, leaf[:, :-1], leaf[:, -1]), y).backward()
    assert leaf.grad is not None
    assert torch.allclose(gradient(extend(features), y, head), leaf.grad, rtol=0, atol=1e-12)


def test_regression_steps_as_sgd_does() -> None:
    """Batches of 4, 4 and 2 of ten samples; the same permutations from an equal generator."""
    rng = np.random.default_rng(1)
    features, head = torch.from_numpy(rng.normal(size=(10, 2))), torch.from_numpy(rng.normal(size=(3, 3)))
    y, leaf = torch.arange(10) % 3, head.clone().requires_grad_()
    optimizer, orders = torch.optim.SGD([leaf], lr=0.2), np.random.default_rng(2)
    for _ in range(3):
        for rows in torch.from_numpy(orders.permutation(10)).split(4):
            optimizer.zero_grad()
            F.cross_entropy(F.linear(features[rows], leaf[:, :-1], leaf[:, -1]), y[rows]).backward()
            optimizer.step()
    before = head.clone()
    found = regress(features, y, head, np.random.default_rng(2), epochs=3, lr=0.2, batch=4)
    assert torch.allclose(found, leaf.detach(), rtol=0, atol=1e-12)
    assert (found - head).abs().max() > 0.1
    assert head.equal(before)


def test_a_head_from_regression_can_be_trained_on() -> None:
    head = regress(torch.eye(2), torch.tensor([0, 1]), torch.zeros(2, 3), np.random.default_rng(0), 1, 0.1, 2)
    head.requires_grad_().sum().backward()
    assert head.grad is not None and head.grad.tolist() == [[1.0] * 3] * 2
