"""Any optimiser of `torch.optim` on a flat model, with the interface of `fedlt.training.sgd.SGD`.

A new one is made for every fit, since clients start without its state; a site whose rounds are one training hands the
state on. It is slower than our own SGD by what PyTorch does around a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fedlt.errors import Problem, ScenarioError
from fedlt.training.sgd import SGD, shorten

if TYPE_CHECKING:
    from fedlt.config.sections import Local
    from fedlt.nn.flat import Flat

FACTOR = "factor"  # of the learning rate, in a group of parameters


class TorchOptimizer:
    """Steps of a class of `torch.optim`.

    Args:
        flat: whose parameters are trained.
        kind: the class.
        options: its arguments, without the parameters and the learning rate.
        clip: the norm to which a longer gradient of all trained parameters is scaled down.

    Attributes:
        lr: may be changed between steps.
        travel: NaN, since the length of a step does not follow from the rate alone.
    """

    travel = math.nan

    def __init__(self, flat: Flat, kind: Any, options: Mapping[str, Any], clip: float | None = None) -> None:
        self.flat, self.kind, self.options, self.clip = flat, kind, dict(options), clip
        self.lr = 0.0
        self._names: tuple[str, ...] = ()
        self._backbone = True
        self._made = self._make([torch.zeros(1, 1, requires_grad=True)])

    def _make(self, parameters: list[Any]) -> Any:
        return self.kind(parameters, lr=1.0, **self.options)

    def reset(
        self, names: tuple[str, ...], lr: float, kept: Mapping[str, Tensor], factors: list[float] | None = None
    ) -> None:
        """Train these parameters from now on.

        Args:
            names: of parameters.
            lr: learning rate.
            kept: the state to go on with, as `kept` gave it; empty: none.
            factors: of each one's learning rate; None: all one.
        """
        self.lr, self._names = lr, names
        self._backbone = any(name.startswith("backbone.") for name in names)

        parameters = [self.flat.trainable[name] for name in names]
        if factors is None:
            self._made = self._make(parameters)
        else:
            pairs = list(zip(parameters, factors, strict=True))
            groups = {factor: [parameter for parameter, its in pairs if its == factor] for factor in factors}
            self._made = self._make([{"params": group, FACTOR: factor} for factor, group in groups.items()])

        for key, value in kept.items():
            name, _, what = key.rpartition("/")
            if name in names:
                self._made.state[self.flat.trainable[name]][what] = value.clone()

    @property
    def kept(self) -> dict[str, Tensor]:
        """The state of each trained parameter, by `parameter/what`."""
        states = ((name, self._made.state[self.flat.trainable[name]]) for name in self._names)
        return {f"{name}/{what}": value for name, state in states for what, value in state.items()}

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters."""
        for parameter in self.flat.trainable.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients at hand; a parameter without one is left as it is."""
        if self.clip is not None:
            shorten([p.grad for p in self.flat.trainable.values() if p.grad is not None], self.clip)
        for group in self._made.param_groups:
            group["lr"] = self.lr * group.get(FACTOR, 1.0)
        self._made.step()
        self.flat.stepped(self._backbone)


def make_optimizer(flat: Flat, local: Local) -> SGD | TorchOptimizer:
    """The scenario's optimiser for this model; SGD for one of which nothing is trained.

    Raises:
        ScenarioError: where the two do not fit.
    """
    chosen = local.optimizer
    if isinstance(chosen, str) or chosen.name == "sgd" or not flat.trainable:
        return SGD(flat, local.momentum, local.weight_decay, local.nesterov, local.clip)

    kind, options = chosen.create()
    if local.weight_decay or "weight_decay" in kind.__init__.__code__.co_varnames:
        options["weight_decay"] = local.weight_decay
    try:
        made = TorchOptimizer(flat, kind, options, local.clip)
        made.reset(tuple(flat.trainable), 0.0, {})
    except (TypeError, ValueError) as error:
        raise ScenarioError(Problem("local.optimizer", f"{chosen.name} does not fit: {error}; take another")) from error
    return made
