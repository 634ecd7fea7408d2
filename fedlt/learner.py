"""Contract 2: how one site learns from skewed data, whoever the site is. Read this file second.

`strategy=centralized learner=X`: one site holds the union. `strategy=fedavg learner=X`: every client learns that
way and the server averages. `strategy=local learner=X`: no server at all. A method is written once, compared thrice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from fedlt.nn.net import Net
    from fedlt.site import Batch, Site
    from fedlt.task import Task


@dataclass(frozen=True)
class Stage:
    """A part of the run: representation first and classifier after it, for example.

    share: its part of the run's rounds; the shares of a learner's stages sum to 1. only: patterns of the parameters
    that are trained in it.
    """

    name: str = "all"
    share: float = 1.0
    only: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Learner:
    """Base of every local or centralized method. Override the smallest thing that differs."""

    def build(self, model: Net, task: Task) -> None:
        """Add experts, projection heads or prototypes to the model. Runs everywhere, seeded alike."""

    def stages(self) -> tuple[Stage, ...]:
        """The parts of the run, in order."""
        return (Stage(),)

    def sampler(self, site: Site, stage: Stage) -> NDArray[np.int64]:
        """One pass over the site's data: positions in 0..n-1, in the order of use. May repeat or leave out."""
        return site.rng.permutation(site.num_samples)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        """Scalar loss of one batch."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def predict(self, model: Net, x: Tensor) -> Tensor:
        """[B, C] logits."""
        return model(x)
