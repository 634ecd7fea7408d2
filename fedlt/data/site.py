"""A site: one place that holds data and learns from it (a client, or the one site of centralized training)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.config.hook_results import expect_order, name_of
from fedlt.config.horizon import Horizon, OfTheRun
from fedlt.data.inputs.features import Encoded

if TYPE_CHECKING:
    from fedlt.data.inputs import Inputs
    from fedlt.data.task import Task
    from fedlt.learner import Learner, Stage
    from fedlt.nn.flat import Flat
    from fedlt.nn.net import Net
    from fedlt.training.trainer import Trainer


@dataclass(frozen=True)
class Batch:
    """Some samples of a site, on the device of its model.

    Attributes:
        x: [B, ...] inputs, ready for the model; in their place may stand their features (`Site.encoded`), which a model
            takes too.
        y: [B] targets.
        rows: [B] positions in the site's data.
    """

    x: Tensor
    y: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Rows:
    """Some rows of a data set, gathered by index when they are used.

    Attributes:
        index: [n] rows of `inputs` and `targets`.
    """

    inputs: Inputs
    targets: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    @property
    def y(self) -> Tensor:
        """[n] the targets."""
        return self.targets[self.index]

    def x(self) -> Tensor:
        """[n, ...] all inputs, without augmentation."""
        return self.inputs.take(self.index)  # type: ignore[no-any-return]

    def labelled(self, y: Tensor) -> Rows:
        """These rows with other targets.

        Args:
            y: [n].
        """
        return Rows(self.inputs, self.targets.index_put((self.index,), y), self.index)

    def joined(self, other: Rows) -> Rows:
        """These rows, and then the other ones, of the same data set; each with its own targets."""
        targets = self.targets.index_put((other.index,), other.y)
        return Rows(self.inputs, targets, torch.cat([self.index, other.index]))

    def batch(self, positions: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Batch:
        """Some of the rows as the model takes them.

        Args:
            positions: [B] in 0..n-1.
            augment: a word of `local.augment`.
            generator: of the augmentation's draws; None: PyTorch's own.
        """
        rows = self.index[positions]
        return Batch(self.inputs.take(rows, augment, generator), self.targets[rows], positions)


@dataclass
class Site:
    """What a learner sees.

    Attributes:
        class_counts: [C] samples per class.
        rng: this site's generator of this round.
        epoch_size: samples in one epoch (its own, unless it stands for others).
        progress: share of the run's rounds that are done, in [0, 1).
        num_steps: steps taken in this round.
        travel: by how much they would have moved a weight whose gradient is always one: the sum of the step sizes, with
            what momentum adds; NaN where `local.optimizer` is not sgd.
        span: the share of the run that one round is; 0 in evaluation, where the scenario's schedule does not apply.
        elapsed: the part of this round's local steps that is done, in [0, 1].
        continuous: whether the rounds are one training, so that the optimiser's state goes on.
        keep_optimizer: whether it goes on all the same, from one round of a client to its next, in `state`; a strategy
            may set it before it trains.
        lr_factor: what every learning rate of its training is multiplied by; a strategy may set it before it trains.
        state: tensors kept between rounds; a learner's names begin with its own, as in `sbcl/subclass`.
        generator: of the augmentation, while the site trains.
        unlabelled: further samples, whose targets are all -1 (`data.unlabelled`).
        groups: group columns of the data set (`data.group_columns`), by name: [N] values of all its rows, of which the
            site's are those at `data.index`.
        followed: what `fedlt.data.samplers.followed` has found, after the data and the counts that it is of.
    """

    model: Net
    flat: Flat
    task: Task
    learner: Learner
    data: Rows
    class_counts: Tensor
    rng: np.random.Generator
    trainer: Trainer
    epoch_size: int
    progress: OfTheRun[float] = OfTheRun()
    num_steps: int = 0
    travel: float = 0.0
    span: OfTheRun[float] = OfTheRun(1.0)
    elapsed: float = 0.0
    continuous: bool = False
    keep_optimizer: bool = False
    lr_factor: float = 1.0
    state: dict[str, Tensor] = field(default_factory=dict)
    generator: torch.Generator | None = None
    unlabelled: Rows | None = None
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    followed: tuple[Rows, Tensor, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def horizon(self) -> Horizon:
        """Whether anything has asked how many rounds the run has."""
        return self.task.horizon

    @property
    def scheduled(self) -> bool:
        """Whether the scenario's schedule of the learning rate applies, which it does not in evaluation."""
        return bool(vars(self)["_span"])

    @property
    def num_samples(self) -> int:
        """Training samples that the site holds."""
        return len(self.data)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """A vector as long as `weights()` [T], or longer, as views by the names of the shared trainable weights."""
        return self.flat.trainable_views(vector)

    @property
    def shared(self) -> Tensor:
        """[S] the shared weights and buffers, which change as the model is trained; clone what is kept."""
        return self.flat.shared

    def tensors(self, shared: Tensor | None = None) -> dict[str, Tensor]:
        """Copies of the model's weights and buffers by name.

        Args:
            shared: [S] what is shared; as it is now unless given.
        """
        flat = self.flat
        return flat.views(torch.cat([flat.shared if shared is None else shared, flat.private, flat.frozen]))

    @property
    def now(self) -> float:
        """Share of the run that is done at this very step, in [0, 1]; for what anneals or is deferred."""
        return min(1.0, self.progress + self.span * self.elapsed)

    @property
    def stage(self) -> Stage:
        """The learner's stage in this round."""
        return self._stage()[0]

    @property
    def stage_begins(self) -> bool:
        """Whether this is the first round of the stage."""
        start = self._stage()[1]
        if not start:  # the run's first round, however many there are
            return bool(vars(self)["_progress"] < vars(self)["_span"] - 1e-9)
        return self.progress - self.span < start - 1e-9

    @property
    def stage_progress(self) -> float:
        """Share of the stage that is done at this very step, in [0, 1]; the learning rate follows it."""
        stage, start = self._stage()
        return min(1.0, max(0.0, (self.now - start) / stage.share))

    @property
    def stage_round(self) -> int:
        """Rounds of the stage that were before this one."""
        start, span = self._stage()[1], vars(self)["_span"]
        done = round(vars(self)["_progress"] / span)
        return done - math.ceil(start / span - 1e-9) if start else done

    @property
    def stage_rounds(self) -> int:
        """Rounds that the stage has."""
        stage, start = self._stage()
        first, last = (math.ceil(share * self.task.rounds - 1e-9) for share in (start, start + stage.share))
        return max(1, last - first)

    def _stage(self) -> tuple[Stage, float]:
        """The stage in this round, and the progress at which it starts."""
        stages = list(self.learner.stages())
        if len(stages) == 1:
            return stages[0], 0.0
        passed = 0.0
        for stage in stages:
            if self.progress < passed + stage.share - 1e-9:
                break
            passed += stage.share
        else:
            passed -= stage.share
        return stage, passed

    def batch(self, positions: NDArray[np.int64]) -> Batch:
        """A further batch of the site's own data, augmented like the others; counted as processed samples."""
        batch = self.trainer.batch(self, torch.from_numpy(positions).to(self.trainer.device, non_blocking=True))
        self.trainer.passed(len(batch))
        return batch

    def view(self, batch: Batch, augment: str | None = None) -> Tensor:
        """[B, ...] the rows of the batch anew, by another draw of the augmentation; counted as processed samples."""
        self.trainer.passed(len(batch))
        return self.trainer.batch(self, batch.rows, augment).x

    def features(self) -> Tensor:
        """[n, D] features of the site's data under the present backbone, without augmentation or gradients."""
        return torch.cat(self.scan(lambda batch: self.model.encode(batch.x)))

    def positions(self, count: int, sampler: Callable[[Site], NDArray[np.int64]] | None = None) -> NDArray[np.int64]:
        """Positions in the order of use: `count / n` passes of the sampler (the learner's) over the n samples.

        A pass is what the sampler gives, however many samples it leaves out or repeats.

        Raises:
            HookError: for an empty one, of which there would never be enough.
        """
        taken: list[NDArray[np.int64]] = []
        while count > 0:
            given = self.learner.sampler(self, self.stage) if sampler is None else sampler(self)
            whose = getattr(sampler, "__qualname__", type(sampler).__name__)
            order = expect_order(given, self.num_samples, whose if sampler else name_of((self.learner, "sampler")))
            part = -(-min(count, self.num_samples) * len(order) // self.num_samples)  # rounded up, exactly
            taken.append(order[:part])
            count -= self.num_samples
        return np.concatenate(taken) if taken else np.empty(0, np.int64)

    def scan(
        self, of: Callable[[Batch], Tensor], chunk: int = 256, data: Rows | None = None, augmented: bool = False
    ) -> list[Tensor]:
        """What `of` gives for each chunk of the site's own samples, in their order.

        The model is in evaluation mode, and no gradient is kept: features, losses and statistics are taken this way.

        Args:
            of: what is taken of a batch.
            chunk: samples of a batch at most; the result does not depend on it but for rounding.
            data: other rows instead.
            augmented: by a new draw of what the training applies; else as they are.
        """
        rows = self.data if data is None else data
        self.model.eval()
        self.trainer.work.forward_samples += len(rows)
        positions = torch.arange(len(rows), device=rows.index.device)
        with torch.no_grad():
            if not augmented:
                return [of(rows.batch(part)) for part in positions.split(chunk)]
            site = self.altered(data=rows, generator=self.trainer.generator(self))
            return [of(self.trainer.batch(site, part)) for part in positions.split(chunk)]

    def encoded(self) -> Self:
        """This site with the features of its samples under the present backbone in place of its inputs.

        What is trained on it should be heads alone. A batch's `x` then stands for the features, in `model(batch.x)` and
        in `model.encode(batch.x)`, and the backbone is passed once.
        """
        features = self.features()
        positions = torch.arange(self.num_samples, device=features.device)
        return self.altered(data=Rows(Encoded.known(features), self.data.y, positions))

    def altered(self, **fields: Any) -> Self:
        """This site with other values in some fields; what is not named is the same object."""
        other = copy.copy(self)
        for name, value in fields.items():
            setattr(other, name, value)
        return other

    def train(
        self,
        loss: Callable[[Any, Batch], Tensor],
        *,
        only: Sequence[str] = ("*",),
        without: Sequence[str] = (),
        epochs: int | None = None,
        lr: float | None = None,
        sampler: Callable[[Site], NDArray[np.int64]] | None = None,
    ) -> None:
        """Train by stochastic gradient descent.

        Args:
            loss: (site, batch) -> scalar.
            only, without: patterns of the parameters to train, and of those to leave out; those outside the stage's and
                the strategy's frozen ones are left out as well.
            epochs, lr: the scenario's unless given; the scenario's schedule applies to either.
            sampler: one pass over the data; the learner's unless given.
        """
        self.trainer.train(self, loss, only=only, without=without, epochs=epochs, lr=lr, sampler=sampler)
