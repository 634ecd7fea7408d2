"""The one training loop of the project. Strategies and learners say what to minimise; they never copy the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fedlt.sgd import SGD
from fedlt.site import Batch, Site

if TYPE_CHECKING:
    from fedlt.nn.flat import Flat
    from fedlt.scenario import Local


@dataclass
class Work:
    """What was done: loss_sum is the sum over samples, as a tensor so that a GPU need not be waited for."""

    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    samples: int = 0
    steps: int = 0

    def count(self, loss: Tensor, clients: int, batch: int) -> None:
        """A step of each of `clients` clients on `batch` samples; loss: the sum of their mean losses."""
        self.loss_sum += loss.detach().float() * batch
        self.samples += clients * batch
        self.steps += clients


class Trainer:
    """Runs local epochs on one model, with one optimiser that is reset instead of being built for every client."""

    def __init__(self, flat: Flat, local: Local, device: torch.device, precision: str) -> None:
        self.flat, self.local, self.device, self.precision = flat, local, device, precision
        self.start_work()
        self._selected: tuple[tuple[tuple[str, ...], ...], tuple[str, ...]] = ((), ())
        self._sgd = SGD(flat, local.momentum, local.weight_decay)

    @torch.enable_grad()  # a strategy may fine-tune while it predicts
    def train(
        self,
        site: Site,
        loss: Callable[[Any, Batch], Tensor],
        *,
        only: Sequence[str],
        epochs: int | None,
        lr: float | None,
    ) -> None:
        """See `Site.train`. The model is left in evaluation mode."""
        names = self.select(only, site.stage.only)
        optimizer = self._sgd
        optimizer.reset(names, self.local.lr if lr is None else lr)
        generator = self.generator(site)
        site.model.train()
        for _ in range(self.local.epochs if epochs is None else epochs):
            order = torch.from_numpy(site.positions(site.epoch_size)).to(self.device)
            for positions in order.split(self.local.batch_size):
                batch = site.data.batch(positions, self.local.augment, generator)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                    value = loss(site, batch)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                self.work.count(value, 1, len(batch))
                site.num_steps += 1
        site.travel += optimizer.travel
        site.model.eval()

    def start_work(self) -> None:
        """Count from zero."""
        self.work = Work(torch.zeros((), device=self.device))

    def generator(self, site: Site) -> torch.Generator:
        """A new generator for the site's augmentation, on the trainer's device."""
        return torch.Generator(device=self.device).manual_seed(int(site.rng.integers(2**62)))

    def select(self, *selections: Sequence[str]) -> tuple[str, ...]:
        """Names of the parameters that every selection matches; only these require a gradient from here on."""
        key = tuple(map(tuple, selections))
        if self._selected[0] == key:
            return self._selected[1]
        chosen = []
        for name, parameter in self.flat.trainable.items():
            wanted = all(any(fnmatchcase(name, pattern) for pattern in patterns) for patterns in selections)
            parameter.requires_grad_(wanted)
            if wanted:
                chosen.append(name)
        if not chosen:
            known = ", ".join(self.flat.trainable)
            raise ValueError(f"no trainable parameter matches {selections}; there are: {known}")
        self._selected = key, tuple(chosen)
        return self._selected[1]
