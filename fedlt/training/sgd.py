"""Stochastic gradient descent on a flat model, without a copy that it does not need.

The arithmetic is that of `torch.optim.SGD` (momentum without dampening, Nesterov's variant, coupled weight decay); a
test compares them.
Written here for speed alone: nothing is built per client, and importing torch's optimisers costs seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fedlt.nn.flat import Flat


def descend(
    weights: list[Tensor],
    gradients: list[Tensor],
    velocity: list[Tensor] | None,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
    factors: list[float] | None = None,
) -> list[Tensor] | None:
    """One step in place, on tensors that match in shape. The velocity after it, None without momentum.

    Args:
        weights: changed in place.
        gradients: of these, in the same order and shapes.
        velocity: what the step before returned; None where there was none. The gradients are used up: after a first
            step they are the velocity.
        lr: learning rate.
        momentum: 0: none, and no velocity.
        weight_decay: times the weights, added to the gradients.
        nesterov: look ahead by the momentum.
        factors: of the rate, one a tensor; None: all one.
    """
    if weight_decay:
        torch._foreach_add_(gradients, weights, alpha=weight_decay)

    if momentum:
        if velocity is None:
            velocity = [gradient.clone() for gradient in gradients] if nesterov else gradients
        else:
            torch._foreach_mul_(velocity, momentum)
            torch._foreach_add_(velocity, gradients)
        if nesterov:
            torch._foreach_add_(gradients, velocity, alpha=momentum)
        else:
            gradients = velocity

    steps = gradients if factors is None else torch._foreach_mul(gradients, factors)
    torch._foreach_add_(weights, steps, alpha=-lr)
    return velocity


def shorten(gradients: list[Tensor], limit: float) -> None:
    """Scale gradients in place so that their common norm is at most `limit`, as PyTorch's `clip_grad_norm_` does."""
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))


class SGD:
    """Momentum v <- momentum * v + g with g = gradient + weight_decay * w, then w <- w - lr * v.

    Attributes:
        nesterov: w <- w - lr * (g + momentum * v).
        lr: may be changed between steps.
        travel: by how much the steps since `reset` would have moved a weight whose gradient is always one, and whose
            rate has no factor.
        clip: the norm to which the gradient of all trained parameters, without weight decay, is scaled down where it is
            longer.
    """

    def __init__(
        self, flat: Flat, momentum: float, weight_decay: float, nesterov: bool = False, clip: float | None = None
    ) -> None:
        self.flat, self.momentum, self.weight_decay, self.nesterov = flat, momentum, weight_decay, nesterov
        self.clip = clip
        self.lr = self.travel = self._pull = 0.0
        self._names: tuple[str, ...] = ()
        self._chosen: list[tuple[Tensor, Tensor]] = []  # parameter, its weights
        self._factors: list[float] | None = None
        self._backbone = True
        self._velocity: list[Tensor] | None = None  # of the chosen, once there was a step

    def reset(
        self,
        names: tuple[str, ...],
        lr: float,
        kept: Mapping[str, Tensor] = MappingProxyType({}),
        factors: list[float] | None = None,
    ) -> None:
        """Train these parameters from now on.

        Args:
            names: of parameters; those of the reset before cost nothing.
            lr: learning rate.
            kept: the momentum to go on with, as `kept` gave it; empty: none.
            factors: of each one's learning rate; None: all one.
        """
        self.lr, self.travel, self._pull, self._factors = lr, 0.0, 0.0, factors

        if names != self._names:
            self._names = names
            self._chosen = [(self.flat.trainable[name], self.flat.tensors[name]) for name in names]
            self._backbone = any(name.startswith("backbone.") for name in names)

        self._velocity = None
        if "velocity" in kept:
            views = self.flat.views(kept["velocity"].clone())
            self._velocity = [views[name] for name in names]

    @property
    def kept(self) -> dict[str, Tensor]:
        """`velocity`: [S + Q + F] momentum of all parameters, zero for those not trained; empty without momentum."""
        if not self.momentum:
            return {}
        whole = torch.zeros_like(self.flat.storage)
        if self._velocity is not None:
            views = self.flat.views(whole)
            for name, value in zip(self._names, self._velocity, strict=True):
                views[name].copy_(value)
        return {"velocity": whole}

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters: the next ones take their place without a copy."""
        for parameter in self.flat.trainable.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients at hand."""
        self._pull = self.momentum * self._pull + 1  # the velocity of a weight whose gradient is always one
        self.travel += self.lr * (1 + self.momentum * self._pull if self.nesterov else self._pull)
        weights, gradients = [], []
        for parameter, values in self._chosen:
            weights.append(values)
            gradients.append(torch.zeros_like(values) if parameter.grad is None else parameter.grad)
            parameter.grad = None  # it is used up, and may be the velocity from here on
        if self.clip is not None:
            shorten(gradients, self.clip)
        settings = self.lr, self.momentum, self.weight_decay, self.nesterov, self._factors
        self._velocity = descend(weights, gradients, self._velocity, *settings)
        self.flat.stepped(self._backbone)
