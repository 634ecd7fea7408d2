"""Self-supervised pre-training: the backbone first learns to tell rotations, from the same samples without labels.

Yang, Xu: Rethinking the Value of Labels for Improving Class-Imbalanced Learning. NeurIPS 2020: labels under a long
tail carry its bias into the representation, rotations do not. As in the official code each sample is turned once, at
random; then all but the last layer is kept and trained by cross-entropy, after which the head may be trained anew as in
cRT. All stages share one budget of rounds (the code adds the first). The paper's other half is `pseudo_labels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.blocks.pretext import TURNS, rotated
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Stage, within
from fedlt.learners.crt import CRT
from fedlt.nn.net import Net


@dataclass(frozen=True)
class ValueOfLabels(CRT):
    """Stages: rotation (the backbone and a head of its own), then those of `crt`, of which the last may be left out."""

    vectorizable: ClassVar[bool] = False

    pretrain: Annotated[float, "> 0", "< 1"] = 0.5  # share of the run's rounds without labels
    classifier_share: Annotated[float, ">= 0", "< 1"] = 0.0  # of the rounds with labels: balanced draws for the head

    def build(self, model: Net, task: Task) -> None:
        task.inputs.require("rotations")
        model.rotation = nn.Linear(model.feature_dim, TURNS)

    def stages(self) -> tuple[Stage, ...]:
        rotation = Stage("rotation", self.pretrain, ("backbone.*", "rotation.*"))
        return rotation, *within(1 - self.pretrain, super().stages(), ("backbone.*", "head.*"))

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name != "rotation":
            return super().loss(site, batch)
        x, turns = rotated(batch.x, site.rng)
        return F.cross_entropy(site.model.part("rotation")(site.model.encode(x)), turns)
