"""Softmax regression on given features, for heads that are trained apart from a backbone.

A head is one matrix [C, D + 1], the bias last; features are extended by a 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.nn.net import Net


def extend(features: Tensor) -> Tensor:
    """[..., D + 1] features with a 1 for the bias."""
    return F.pad(features, (0, 1), value=1.0)


def fresh_head(classes: int, dim: int, rng: np.random.Generator, like: Tensor) -> Tensor:
    """[C, D + 1] PyTorch's initialisation, uniform within 1 / sqrt(D); with the type and device of `like`."""
    return torch.from_numpy(rng.uniform(-1, 1, (classes, dim + 1)) * dim**-0.5).to(like)


def head_of(model: Net) -> Tensor:
    """[C, D + 1] a model's linear head, detached."""
    weight, bias = model.part("head.weight"), model.part("head.bias")
    return torch.cat([weight, bias[:, None]], 1).detach()


def logits(features: Tensor, head: Tensor) -> Tensor:
    """[B, C] logits of features [B, D]."""
    return F.linear(features, head[:, :-1], head[:, -1])


def gradient(extended: Tensor, y: Tensor, head: Tensor) -> Tensor:
    """[..., C, D + 1] gradient of the mean cross-entropy of the head on extended features [..., n, D + 1]."""
    error = (extended @ head.T).softmax(-1) - F.one_hot(y, len(head))
    return error.transpose(-1, -2) @ extended / extended.shape[-2]


def regress(
    features: Tensor, y: Tensor, head: Tensor, rng: np.random.Generator, epochs: int, lr: float, batch: int
) -> Tensor:
    """[C, D + 1] the head after so many epochs of gradient descent on shuffled batches of features [n, D].

    Thousands of tiny steps: what takes time is calling, so that each step is few calls into memory that stays. Scores
    are [C, B], not [B, C]: PyTorch's softmax over few classes is several times as quick where they are the rows.
    """
    extended, head = extend(features), head.clone()
    wanted = F.one_hot(y, len(head)).T.to(extended).contiguous()
    shuffled, targets = torch.empty_like(extended), torch.empty_like(wanted)
    batches = [
        (x, x.T, target, head.new_empty(target.shape), -lr / len(x))
        for x, target in zip(shuffled.split(batch), targets.split(batch, 1), strict=True)
    ]

    with torch.inference_mode():  # quicker calls than under no_grad
        for _ in range(epochs):
            order = torch.from_numpy(rng.permutation(len(y))).to(y.device, non_blocking=True)
            torch.index_select(extended, 0, order, out=shuffled)
            torch.index_select(wanted, 1, order, out=targets)
            for x, turned, target, error, step in batches:
                torch.softmax(torch.mm(head, turned, out=error), 0, out=error).sub_(target)
                head.addmm_(error, x, alpha=step)
    return head
