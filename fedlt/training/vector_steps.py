"""Steps of an optimiser on one vector, whose state is a few tensors by name: what is trained apart from a flat model.

The arithmetic is that of `torch.optim.SGD` and `torch.optim.Adam`; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from fedlt.training.sgd import descend

NOTHING: Mapping[str, Tensor] = MappingProxyType({})


class Steps(Protocol):
    """An optimiser of one vector."""

    @property
    def kept(self) -> dict[str, Tensor]:
        """Its state, to go on with another time."""

    def step(self, vector: Tensor, gradient: Tensor, lr: float) -> None:
        """One step, in place. The gradient is used up."""


class Descent:
    """Gradient descent.

    Attributes:
        momentum: v <- momentum v + g, and the step is along v.
        weight_decay: times the vector, added to g.
        kept: the state to go on with.
    """

    def __init__(self, momentum: float = 0.0, weight_decay: float = 0.0, kept: Mapping[str, Tensor] = NOTHING) -> None:
        self.momentum, self.weight_decay = momentum, weight_decay
        self._velocity = [kept["velocity"].clone()] if "velocity" in kept else None

    @property
    def kept(self) -> dict[str, Tensor]:
        return {} if self._velocity is None else {"velocity": self._velocity[0]}

    @torch.no_grad()
    def step(self, vector: Tensor, gradient: Tensor, lr: float) -> None:
        """A step of sgd, in place.

        Args:
            vector: [T] the weights.
            gradient: [T], which may be changed.
        """
        self._velocity = descend([vector], [gradient], self._velocity, lr, self.momentum, self.weight_decay)


class Adam:
    """Kingma, Ba: Adam: A Method for Stochastic Optimization. ICLR 2015.

    Attributes:
        weight_decay: times the vector, added to the gradient.
        kept: the state to go on with.
    """

    FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, weight_decay: float = 0.0, kept: Mapping[str, Tensor] = NOTHING) -> None:
        self.weight_decay = weight_decay
        self.kept: dict[str, Tensor] = {name: value.clone() for name, value in kept.items()}

    @torch.no_grad()
    def step(self, vector: Tensor, gradient: Tensor, lr: float) -> None:
        """A step of Adam or AdamW, in place: moments first, then the weights.

        Args:
            vector: [T] the weights.
            gradient: [T], which may be changed.
        """
        if not self.kept:
            zeros = torch.zeros_like(vector)
            self.kept = {"mean": zeros, "square": zeros.clone(), "steps": torch.zeros((), dtype=torch.int64)}
        if self.weight_decay:
            gradient.add_(vector, alpha=self.weight_decay)

        self.kept["steps"] += 1
        steps = int(self.kept["steps"])
        mean = self.kept["mean"].lerp_(gradient, 1 - self.FIRST)
        square = self.kept["square"].mul_(self.SECOND).addcmul_(gradient, gradient, value=1 - self.SECOND)

        # Both moments start at zero, which their first steps make up for.
        spread = (square.sqrt() / (1 - self.SECOND**steps) ** 0.5).add_(self.EPSILON)
        vector.addcdiv_(mean, spread, value=-lr / (1 - self.FIRST**steps))
