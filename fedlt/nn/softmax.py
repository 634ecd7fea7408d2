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
    """A head by PyTorch's initialisation, uniform within 1 / sqrt(D).

    Args:
        classes: C.
        dim: D of the features.
        rng: draws it, so that the head is the same on every device.
        like: gives type and device.

    Returns:
        [C, D + 1], the last column being the biases.
    """
    return torch.from_numpy(rng.uniform(-1, 1, (classes, dim + 1)) * dim**-0.5).to(like)


def head_of(model: Net) -> Tensor:
    """[C, D + 1] a model's linear head, detached."""
    weight, bias = model.part("head.weight"), model.part("head.bias")
    return torch.cat([weight, bias[:, None]], 1).detach()


def logits(features: Tensor, head: Tensor) -> Tensor:
    """[B, C] logits of features [B, D]."""
    return F.linear(features, head[:, :-1], head[:, -1])


def gradient(extended: Tensor, y: Tensor, head: Tensor) -> Tensor:
    """Gradient of a head's mean cross-entropy, for one set of features or several at once.

    Args:
        extended: [..., n, D + 1] features, the last of which is 1 (`extend`).
        y: int64 [..., n].
        head: [C, D + 1].

    Returns:
        [..., C, D + 1].
    """
    error = (extended @ head.T).softmax(-1) - F.one_hot(y, len(head))
    return error.transpose(-1, -2) @ extended / extended.shape[-2]


def regress(
    features: Tensor, y: Tensor, head: Tensor, rng: np.random.Generator, epochs: int, lr: float, batch: int
) -> Tensor:
    """A head after gradient descent on shuffled batches; the one given stays as it is.

    Thousands of tiny steps: what takes time is calling, so that each step is few calls into memory that stays. Scores
    are [C, B], not [B, C]: PyTorch's softmax over few classes is several times as quick where they are the rows.

    Args:
        features: [n, D].
        y: int64 [n].
        head: [C, D + 1] where it begins.
        rng: shuffles each epoch anew.
        epochs: passes over the features.
        lr: of every step.
        batch: features of a step; the last of an epoch may have fewer.

    Returns:
        [C, D + 1].
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
