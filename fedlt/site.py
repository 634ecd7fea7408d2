"""A site: one place that holds data and learns from it (a client, or the one site of centralized training)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from fedlt.data.inputs import Inputs
    from fedlt.learner import Learner, Stage
    from fedlt.nn.flat import Flat
    from fedlt.nn.net import Net
    from fedlt.task import Task
    from fedlt.trainer import Trainer


@dataclass(frozen=True)
class Batch:
    """x: [B, ...] inputs, ready for the model. y: [B] targets. rows: [B] positions in the site's data."""

    x: Tensor
    y: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Rows:
    """Some rows of a data set, gathered by index when they are used. index: [n] rows of `inputs` and `targets`."""

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
        return self.inputs.take(self.index)

    def batch(self, positions: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Batch:
        """The batch at `positions` (in 0..n-1), augmented where asked for."""
        rows = self.index[positions]
        return Batch(self.inputs.take(rows, augment, generator), self.targets[rows], positions)


@dataclass
class Site:
    """What a learner sees.

    class_counts: [C] samples per class. rng: this site's generator of this round. epoch_size: samples in one epoch
    (its own, unless it stands for others). progress: share of the run's rounds that are done, in [0, 1). num_steps:
    steps of SGD taken in this round. travel: by how much they would have moved a weight whose gradient is always one,
    so the sum of the step sizes, with what momentum adds.
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
    progress: float
    num_steps: int = 0
    travel: float = 0.0

    @property
    def num_samples(self) -> int:
        """Training samples that the site holds."""
        return len(self.data)

    @property
    def stage(self) -> Stage:
        """The learner's stage at this point of the run."""
        stages = self.learner.stages()
        passed = 0.0
        for stage in stages:
            passed += stage.share
            if self.progress < passed - 1e-9:
                return stage
        return stages[-1]

    def positions(self, count: int) -> NDArray[np.int64]:
        """[count] positions in the order of use: as many passes of the learner's sampler as it takes."""
        taken: list[NDArray[np.int64]] = []
        while (have := sum(map(len, taken))) < count:
            taken.append(self.learner.sampler(self, self.stage)[: count - have])
        return np.concatenate(taken) if taken else np.empty(0, np.int64)

    def scan(self, of: Callable[[Batch], Tensor], chunk: int = 256) -> list[Tensor]:
        """What `of` gives for each chunk of the site's own samples, in their order and without augmentation.

        The model is in evaluation mode, and no gradient is kept: features, losses and statistics are taken this way.
        """
        self.model.eval()
        positions = torch.arange(self.num_samples, device=self.data.index.device)
        with torch.no_grad():
            return [of(self.data.batch(part)) for part in positions.split(chunk)]

    def train(
        self,
        loss: Callable[[Any, Batch], Tensor],
        *,
        only: Sequence[str] = ("*",),
        epochs: int | None = None,
        lr: float | None = None,
    ) -> None:
        """Train by stochastic gradient descent.

        loss: (site, batch) -> scalar. only: patterns of the parameters to train; the stage's and the strategy's
        frozen ones are left out as well. epochs, lr: the scenario's unless given.
        """
        self.trainer.train(self, loss, only=only, epochs=epochs, lr=lr)
