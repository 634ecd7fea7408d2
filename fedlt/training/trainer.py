"""The one training loop of the project. Strategies and learners say what to minimise; they never copy the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.config.hook_results import expect_loss, given, name_of
from fedlt.data.buckets import bucketed, lengths_of
from fedlt.data.site import Batch, Rows, Site
from fedlt.errors import HookError
from fedlt.nn.net import Switch
from fedlt.training.bfloat16 import in_bfloat16
from fedlt.training.optimizers import make_optimizer
from fedlt.training.schedules import make_schedule

if TYPE_CHECKING:
    from fedlt.config.sections import Local
    from fedlt.learner import Stage
    from fedlt.nn.flat import Flat

KEPT = "trainer/"  # what begins the names under which a site keeps its optimiser's state between rounds


@dataclass
class Work:
    """What was done.

    Attributes:
        loss_sum: sum over samples; a tensor, so that a GPU need not be waited for.
        samples: seen by the loss.
        steps: of all clients together.
        backward_samples: passed through the backbone forward and backward, further views included.
        forward_samples: passed through it forward only (features, predictions on training data).
    """

    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    samples: int = 0
    steps: int = 0
    backward_samples: int = 0
    forward_samples: int = 0

    def count(self, loss: Tensor, clients: int, batch: int, backward: int | None = None) -> None:
        """Note a step of each of some clients.

        Args:
            loss: the sum of their mean losses.
            clients: how many took it, one unless they train together.
            batch: samples of each.
            backward: samples that passed the backbone forward and backward; None: all of them.
        """
        self.loss_sum += loss.detach().float() * batch
        self.samples += clients * batch
        self.backward_samples += clients * batch if backward is None else backward
        self.steps += clients


class Trainer:
    """Runs local epochs on one model, with one optimiser that is reset instead of being built for every client.

    Args:
        flat: the model.
        local: the scenario's section of that name.
        device: where the model is.
        precision: `resources.precision`.

    Attributes:
        work: what was done since `start_work`.
    """

    def __init__(self, flat: Flat, local: Local, device: torch.device, precision: str) -> None:
        self.flat, self.local, self.device, self.precision = flat, local, device, precision
        self.start_work()
        self._selected: tuple[tuple[tuple[str, ...], ...], tuple[str, ...]] = ((), ())
        self._with_backbone: dict[tuple[str, ...], bool] = {}
        self._switch, self._switch_backbone = Switch(flat.model), Switch(flat.model.backbone)
        self._switch_still = [Switch(module) for module in flat.still]
        self._optimizer = make_optimizer(flat, local)
        self._schedule = make_schedule(local)

    @torch.enable_grad()  # a strategy may fine-tune while it predicts
    def train(
        self,
        site: Site,
        loss: Callable[[Any, Batch], Tensor],
        *,
        only: Sequence[str],
        without: Sequence[str],
        epochs: int | None,
        lr: float | None,
        sampler: Callable[[Site], NDArray[np.int64]] | None,
    ) -> None:
        """See `Site.train`.

        The model is left in evaluation mode. One that has nothing to train stays as it is.
        """
        if not self.flat.trainable:
            site.elapsed = 1.0
            self._switch(False)
            return

        # 1. The parameters that are trained: those that stage and caller agree on.
        stage = site.stage
        names = self.select(only, stage.only, without=without)

        # 2. The optimiser, fresh or as the site kept it from the round before.
        optimizer = self._optimizer
        keeps = site.continuous or site.keep_optimizer
        factors = [stage.rate(name) for name in names] if stage.rates else None
        optimizer.reset(names, 0.0, _kept(site) if keeps and not site.stage_begins else {}, factors)
        rate = (self.local.lr if lr is None else lr) * site.lr_factor

        # 3. The data, or their features where the backbone stays as it is.
        site.generator = self.generator(site)
        own_data = site.data
        self._trained, self._known = any(name.startswith("backbone.") for name in names), stage.encoded
        if stage.encoded:
            site.data = self._encoded(site, names)

        # 4. The steps. The learner leaves their gradients, by the strategy's loss or in its own way.
        for batches, first, total in self._passes(site, stage, epochs, sampler):
            for step, positions in enumerate(batches, first):
                optimizer.lr = rate * self.pace(site, step, total)
                batch = self.batch(site, positions)
                value: Any = site.learner.gradient(site, partial(self._loss, loss, site), batch)
                if not isinstance(value, Tensor):
                    name = name_of((site.learner, "gradient"))
                    raise HookError(f"{name} gave {given(value)}; return the loss of the batch")

                optimizer.step()
                self.work.count(value, 1, len(batch), backward=0)
                self.passed(len(batch))
                site.num_steps += 1

        # 5. The site as it was, with what the training tells and leaves.
        site.data = own_data
        self._trained, self._known = True, False
        site.travel += optimizer.travel
        site.elapsed = 1.0
        self._switch(False)
        if keeps:
            site.state.update({f"{KEPT}{name}": value for name, value in optimizer.kept.items()})

    def _passes(
        self, site: Site, stage: Stage, epochs: int | None, sampler: Callable[[Site], NDArray[np.int64]] | None
    ) -> Iterator[tuple[list[Tensor], int, int]]:
        """The batches of each pass over the site's data, the number of its first step, and that of all steps.

        A site that stands for others is given the samples of all their steps in one pass.

        Args:
            epochs: as many passes; None: as many as the scenario has, or as many as `local.steps` takes, the last of
                them cut short.
        """
        # How many steps or passes there are.
        limit = self.local.steps if epochs is None and not site.continuous else None
        passes = self.local.epochs if epochs is None else epochs
        if epochs is None and self.local.steps is not None and site.continuous:
            passes = 1

        lengths = None
        if self.local.batches == "bucketed" and not stage.encoded:
            lengths = lengths_of(site.data.inputs, site.data.index, site.task.inputs)

        number, done = 0, 0
        while done < limit if limit is not None else number < passes:
            with torch.no_grad():
                site.learner.epoch(site)
            self._train_mode(stage)

            # The samples of this pass, in the order of use.
            positions = site.positions(site.epoch_size, sampler)
            if lengths is not None:
                positions = bucketed(positions, lengths, self.local.batch_size, site.rng)

            # A GPU is not waited for: when the call returns, the array has been read, though not yet arrived there.
            order = torch.from_numpy(positions).to(self.device, non_blocking=True)
            batches = cut(order, self.local.batch_size, self.local.last_batch)

            if limit is not None:
                batches = batches[: limit - done]
                yield batches, done, limit
            else:  # as if all passes were as long as this one
                yield batches, number * len(batches), passes * len(batches)
            number, done = number + 1, done + len(batches)

    def pace(self, site: Site, step: int, steps: int) -> float:
        """Factor of the learning rate in the middle of a step, which is where the site is put; then at its start."""
        site.elapsed = (step + 0.5) / steps
        factor = self._schedule.factor(site) if site.scheduled else 1.0
        site.elapsed = step / steps
        return factor

    def passed(self, samples: int) -> None:
        """Count samples that pass the backbone once.

        They pass forward and backward; forward only where the training under way leaves the backbone out; and not at
        all where their features are known.
        """
        if self._trained:
            self.work.backward_samples += samples
        elif not self._known:
            self.work.forward_samples += samples

    def batch(self, site: Site, positions: Tensor, augment: str | None = None) -> Batch:
        """The batch at `positions` of the site's data, augmented as given, or as the stage or the scenario says."""
        return site.data.batch(positions, augment or self._augment(site), site.generator)

    def _augment(self, site: Site) -> str:
        """The augmentation of the stage, or of the scenario."""
        return site.stage.augment or self.local.augment

    def _encoded(self, site: Site, names: Sequence[str]) -> Rows:
        """The site's data as features.

        Raises:
            ValueError: where parameters of the backbone are to be trained.
        """
        if any(name.startswith("backbone.") for name in names):
            stage = f"the stage {site.stage.name!r} is on encoded samples"
            raise ValueError(f"{stage}, so it must leave the backbone's parameters out")
        return site.encoded().data

    def _loss(self, loss: Callable[[Any, Batch], Tensor], site: Site, batch: Batch) -> Tensor:
        """The loss of a batch; gradients of former ones are dropped."""
        value: Any
        if self.precision == "float32":  # even switched off, autocast costs a small model some per cent
            value = loss(site, batch)
        else:
            with in_bfloat16(self.device):
                value = loss(site, batch)
        self._optimizer.zero_grad()
        return expect_loss(value, loss, site.learner)

    def _train_mode(self, stage: Stage) -> None:
        """Put the model into training mode.

        A backbone that the stage leaves out stays as it is, running statistics included unless the stage says
        otherwise, and so do modules that arrived frozen.
        """
        if stage.only not in self._with_backbone:
            names = [name for name in self.flat.trainable if name.startswith("backbone.")]
            matched = any(fnmatchcase(name, pattern) for name in names for pattern in stage.only)
            self._with_backbone[stage.only] = matched

        self._switch(True)
        if not (self._with_backbone[stage.only] or stage.statistics):
            self._switch_backbone(False)
        for switch in self._switch_still:
            switch(False)

    def start_work(self) -> None:
        """Count from zero."""
        self.work = Work(torch.zeros((), device=self.device))
        self._trained, self._known = True, False  # what the training under way does with the backbone; see `passed`

    def generator(self, site: Site) -> torch.Generator:
        """A new generator for the site's augmentation, on the trainer's device."""
        return torch.Generator(device=self.device).manual_seed(int(site.rng.integers(2**62)))

    def select(self, *selections: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
        """Names of the parameters that are trained. Only these require a gradient from here on.

        Args:
            selections: patterns; a parameter is trained where each of them has one that matches.
            without: patterns of parameters that are not.

        Raises:
            ValueError: where none is left.
        """
        key = tuple(map(tuple, (without, *selections)))
        if self._selected[0] == key:
            return self._selected[1]

        chosen = []
        for name, parameter in self.flat.trainable.items():
            wanted = all(_matches(name, patterns) for patterns in selections) and not _matches(name, without)
            parameter.requires_grad_(wanted)
            if wanted:
                chosen.append(name)

        if not chosen:
            known = ", ".join(self.flat.trainable)
            left_out = f" without {tuple(without)}" if without else ""
            raise ValueError(f"no trainable parameter matches {selections}{left_out}; there are: {known}")
        self._selected = key, tuple(chosen)
        return self._selected[1]


def _kept(site: Site) -> dict[str, Tensor]:
    """The optimiser's state that the site has kept from the round before."""
    return {name.removeprefix(KEPT): tensor for name, tensor in site.state.items() if name.startswith(KEPT)}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def cut(order: Tensor, size: int, last: str) -> list[Tensor]:
    """The batches of a pass [..., n].

    Args:
        order: [..., n] positions in the order of use.
        size: samples of a batch.
        last: what becomes of a last one of one sample (`local.last_batch`), which layers that normalise over a batch
            refuse; where there is no other batch it stays.
    """
    batches = list(order.split(size, dim=-1))
    if last != "keep" and len(batches) > 1 and batches[-1].shape[-1] == 1:
        single = batches.pop()
        if last == "merge":
            batches[-1] = torch.cat([batches[-1], single], dim=-1)
    return batches
