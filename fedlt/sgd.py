"""Stochastic gradient descent on a flat model, without a copy that it does not need.

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
    weights: list[Tensor],
    gradients: list[Tensor],
    velocity: list[Tensor] | None,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
    first: bool = False,
) -> None:
    """One step in place, on tensors that match in shape; the gradients are used up.

    velocity: None without momentum. first: the velocity begins at zero, whatever is in its memory.
    """
    if weight_decay:
        torch._foreach_add_(gradients, weights, alpha=weight_decay)
    if velocity is not None:
        if first:
            torch._foreach_copy_(velocity, gradients)
        else:
            torch._foreach_mul_(velocity, momentum)
            torch._foreach_add_(velocity, gradients)
        if nesterov:
            torch._foreach_add_(gradients, velocity, alpha=momentum)
        else:
            gradients = velocity
    torch._foreach_add_(weights, gradients, alpha=-lr)


class SGD:
    """Momentum v <- momentum * v + g with g = gradient + weight_decay * w, then w <- w - lr * v.

    nesterov: w <- w - lr * (g + momentum * v). lr may be changed between steps. travel: by how much the steps since
    `reset` would have moved a weight whose gradient is always one.
    """

    def __init__(self, flat: Flat, momentum: float, weight_decay: float, nesterov: bool = False) -> None:
        self.flat, self.momentum, self.weight_decay, self.nesterov = flat, momentum, weight_decay, nesterov
        self.lr = self.travel = self._pull = 0.0
        self._chosen: list[tuple[Tensor, Tensor, Tensor | None]] = []  # parameter, its weights, its velocity
        self._names: tuple[str, ...] = ()
        self._backbone, self._first = True, True
        self._velocity = torch.zeros_like(flat.storage) if momentum else None
        self._velocities = {} if self._velocity is None else flat.views(self._velocity)

    def reset(self, names: tuple[str, ...], lr: float, velocity: Tensor | None = None) -> None:
        """Train these parameters from now on, with this momentum (as `velocity` gave it) or with none."""
        self.lr, self.travel, self._pull = lr, 0.0, 0.0
        if names != self._names:
            self._names = names
            self._chosen = [(self.flat.trainable[n], self.flat.tensors[n], self._velocities.get(n)) for n in names]
            self._backbone = any(name.startswith("backbone.") for name in names)
        self._first = velocity is None
        if self._velocity is not None and velocity is not None:
            self._velocity.copy_(velocity)

    @property
    def velocity(self) -> Tensor | None:
        """A copy of the momentum of all parameters, zero for those that are not trained; None where there is none."""
        if self._velocity is None:
            return None
        if self._first:
            return torch.zeros_like(self._velocity)
        kept = torch.zeros_like(self._velocity)
        for part in self.flat.segments(self._names):
            kept[part] = self._velocity[part]
        return kept

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters: the next ones take their place without a copy."""
        for parameter in self.flat.trainable.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients at hand."""
        self._pull = self.momentum * self._pull + 1  # the velocity of a weight whose gradient is always one
        self.travel += self.lr * (1 + self.momentum * self._pull if self.nesterov else self._pull)
        weights, gradients, velocities = [], [], []
        for parameter, values, velocity in self._chosen:
            weights.append(values)
            gradients.append(torch.zeros_like(values) if parameter.grad is None else parameter.grad)
            if velocity is not None:
                velocities.append(velocity)
        settings = self.lr, self.momentum, self.weight_decay, self.nesterov, self._first
        descend(weights, gradients, velocities or None, *settings)
        self._first = False
        self.flat.stepped(self._backbone)
