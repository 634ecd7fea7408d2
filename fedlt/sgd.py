"""Stochastic gradient descent on a flat model: a few operations on whole vectors, whatever the number of tensors.

The arithmetic is that of `torch.optim.SGD` (momentum without dampening, Nesterov's variant, coupled weight decay); a
test compares them.
Written here for speed alone: nothing is built per client, and importing torch's optimisers costs seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fedlt.nn.flat import Flat


def schedule(kind: str, warmup: float, progress: float) -> float:
    """Factor of the learning rate at `progress` in [0, 1]: it rises linearly over `warmup`, then follows its kind.

    constant: 1. cosine: half a cosine from 1 to 0 over what is left. step: 0.01 from 0.8 on, 0.0001 from 0.9 on.
    """
    if progress < warmup:
        return progress / warmup
    if kind == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * (progress - warmup) / (1 - warmup))
    if kind == "step":
        return 0.01 ** ((progress >= 0.8) + (progress >= 0.9))
    return 1.0


def descend(
    weights: Tensor,
    gradient: Tensor,
    velocity: Tensor | None,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
) -> None:
    """One step in place, on vectors of any equal shapes; the gradient is used up. velocity: None without momentum."""
    if weight_decay:
        gradient.add_(weights, alpha=weight_decay)
    if velocity is not None:
        velocity.mul_(momentum).add_(gradient)
        gradient = gradient.add_(velocity, alpha=momentum) if nesterov else velocity
    weights.add_(gradient, alpha=-lr)


class SGD:
    """Momentum v <- momentum * v + g with g = gradient + weight_decay * w, then w <- w - lr * v.

    nesterov: w <- w - lr * (g + momentum * v). lr may be changed between steps. travel: by how much the steps since
    `reset` would have moved a weight whose gradient is always one.
    """

    def __init__(self, flat: Flat, momentum: float, weight_decay: float, nesterov: bool = False) -> None:
        self.flat, self.momentum, self.weight_decay, self.nesterov = flat, momentum, weight_decay, nesterov
        self.lr = self.travel = self._pull = 0.0
        self._parts: list[slice] = []
        self._backbone = True
        self._velocity = torch.zeros_like(flat.storage) if momentum else None

    def reset(self, names: tuple[str, ...], lr: float, velocity: Tensor | None = None) -> None:
        """Train these parameters from now on, with this momentum (as `velocity` gave it) or with none."""
        self.lr, self.travel, self._pull = lr, 0.0, 0.0
        self._parts = self.flat.segments(names)
        self._backbone = any(name.startswith("backbone.") for name in names)
        if self._velocity is not None:
            if velocity is None:
                self._velocity.zero_()
            else:
                self._velocity.copy_(velocity)

    @property
    def velocity(self) -> Tensor | None:
        """A copy of the momentum of all parameters; None where there is none."""
        return None if self._velocity is None else self._velocity.clone()

    def zero_grad(self) -> None:
        """Clear the gradients of all parameters."""
        self.flat.gradient.zero_()

    def step(self) -> None:
        """One update from the gradients at hand."""
        self._pull = self.momentum * self._pull + 1  # the velocity of a weight whose gradient is always one
        self.travel += self.lr * (1 + self.momentum * self._pull if self.nesterov else self._pull)
        for part in self._parts:
            velocity = None if self._velocity is None else self._velocity[part]
            weights, gradient = self.flat.storage[part], self.flat.gradient[part]
            descend(weights, gradient, velocity, self.lr, self.momentum, self.weight_decay, self.nesterov)
        self.flat.stepped(self._backbone)
