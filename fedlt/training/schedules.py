"""Schedules of the learning rate: the factor of `local.lr` at a step of a site's round.

Those of the project follow the share of the run, or of the learner's stage, that is done at the step. Those of PyTorch
are one step further in each round, and anew at the beginning of a stage. What follows the number of rounds asks for it
(`fedlt.config.horizon`), and nothing else does.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, Protocol

from fedlt.config.schedules import LENGTH, OURS, USUAL, create

if TYPE_CHECKING:
    from fedlt.config.component import Choice
    from fedlt.config.sections import Local
    from fedlt.data.site import Site


class Schedule(Protocol):
    """The factor of the learning rate in the middle of a step, which is where the site is put."""

    def factor(self, site: Site) -> float: ...


class Ours:
    """One of this project's schedules, with a warm-up.

    Attributes:
        kind: a name of `fedlt.config.schedules.OURS`.
        warmup: share of the stage over which the rate rises from 0.
    """

    def __init__(self, kind: str, warmup: float) -> None:
        self.kind, self.warmup = kind, warmup

    def factor(self, site: Site) -> float:
        """The schedule's factor of the learning rate at this step, by the share of the stage that is done."""
        if self.kind == USUAL and not self.warmup:
            return 1.0
        return over_the_run(self.kind, self.warmup, site.stage_progress)


class OfTorch:
    """A class of `torch.optim.lr_scheduler`, which decides the rates round by round.

    Attributes:
        chosen: its name and keys.
        lr: the rate that it changes, `local.lr`.
        warmup: share of the stage over which the rate also rises from 0, step by step.
    """

    def __init__(self, chosen: Choice, lr: float, warmup: float) -> None:
        self.chosen, self.lr, self.warmup = chosen, lr, warmup
        self._factors: dict[int | None, list[float]] = {}

    def factor(self, site: Site) -> float:
        """The scheduler's factor for the round, times the warm-up within it."""
        key = LENGTH.get(self.chosen.name)
        length = site.stage_rounds if key and self.chosen.options[key] is None else None
        done = site.stage_round
        if length not in self._factors or len(self._factors[length]) <= done:
            self._factors[length] = factors(self.chosen, self.lr, done + 64, length)
        found = self._factors[length][min(done, len(self._factors[length]) - 1)]  # who joins later finds an ended one
        return found * over_the_run(USUAL, self.warmup, site.stage_progress) if self.warmup else found


def over_the_run(kind: str, warmup: float, progress: float) -> float:
    """Factor of the learning rate: it rises linearly over the warm-up, then follows its kind.

    - constant: 1 - cosine: half a cosine from 1 to 0 over what is left - step: 0.01 from 0.8 on, 0.0001 from 0.9 on

    Args:
        kind: one of these.
        warmup: share of the run, in [0, 1).
        progress: share of the run that is done, in [0, 1].
    """
    if progress < warmup:
        return progress / warmup
    if kind == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * (progress - warmup) / (1 - warmup))
    if kind == "step":
        return 0.01 ** ((progress >= 0.8) + (progress >= 0.9))
    return 1.0


def factors(chosen: Choice, lr: float, rounds: int, length: int | None = None) -> list[float]:
    """Factors of `lr` in the first rounds, as PyTorch's own scheduler gives them; as many as it has, at most `rounds`.

    Args:
        chosen: a scheduler of PyTorch with its keys.
        lr: to which the factors refer.
        rounds: how many are asked for.
        length: stands for the key of `LENGTH` where that is null.
    """
    import torch

    options: dict[str, Any] = dict(chosen.options)
    if length is not None:
        options[LENGTH[chosen.name]] = length
    if chosen.name == "OneCycleLR":
        options |= {"max_lr": lr, "cycle_momentum": False}
        rounds = min(rounds, options["total_steps"])

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    with warnings.catch_warnings():  # there are no steps of the optimiser, which PyTorch expects before its scheduler's
        warnings.simplefilter("ignore")
        scheduler = create(chosen.name, {})(optimizer, **options)
        found = []
        for _ in range(rounds):
            found.append(float(optimizer.param_groups[0]["lr"]) / lr)
            if len(found) < rounds:
                scheduler.step()
    return found


def make_schedule(local: Local) -> Schedule:
    """The scenario's schedule."""
    chosen = local.schedule
    name = chosen if isinstance(chosen, str) else chosen.name
    if isinstance(chosen, str) or name in OURS:
        return Ours(name, local.warmup)
    return OfTorch(chosen, local.lr, local.warmup)
