"""Stochastic gradient descent on a flat model: a few operations on whole vectors, whatever the number of tensors.

The arithmetic is that of `torch.optim.SGD` (momentum without dampening, coupled weight decay); a test compares them.
Written here for speed alone: nothing is built per client, and importing torch's optimisers costs seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fedlt.nn.flat import Flat


def descend(
    weights: Tensor, gradient: Tensor, velocity: Tensor | None, lr: float, momentum: float, weight_decay: float
) -> None:
    """One step in place, on vectors of any equal shapes; the gradient is used up. velocity: None without momentum."""
    if weight_decay:
        gradient.add_(weights, alpha=weight_decay)
    if velocity is not None:
        gradient = velocity.mul_(momentum).add_(gradient)
    weights.add_(gradient, alpha=-lr)


class SGD:
    """Momentum v <- momentum * v + gradient + weight_decay * w, then w <- w - lr * v.

    travel: by how much the steps since `reset` would have moved a weight whose gradient is always one.
    """

    def __init__(self, flat: Flat, momentum: float, weight_decay: float) -> None:
        self.flat, self.momentum, self.weight_decay = flat, momentum, weight_decay
        self.lr = self.travel = self._pull = 0.0
        self._parts: list[slice] = []
        self._velocity = torch.zeros_like(flat.storage) if momentum else None

    def reset(self, names: tuple[str, ...], lr: float) -> None:
        """Forget the momentum and train these parameters from now on."""
        self.lr, self.travel, self._pull = lr, 0.0, 0.0
        self._parts = self.flat.segments(names)
        if self._velocity is not None:
            self._velocity.zero_()

    def zero_grad(self) -> None:
        """Clear the gradients of all parameters."""
        self.flat.gradient.zero_()

    def step(self) -> None:
        """One update from the gradients at hand."""
        self._pull = self.momentum * self._pull + 1  # the velocity of a weight whose gradient is always one
        self.travel += self.lr * self._pull
        for part in self._parts:
            velocity = None if self._velocity is None else self._velocity[part]
            weights, gradient = self.flat.storage[part], self.flat.gradient[part]
            descend(weights, gradient, velocity, self.lr, self.momentum, self.weight_decay)
        self.flat.stepped()
