"""Self-supervised pre-training: the backbone first learns to tell rotations, from the same images without labels.

Yang, Xu: Rethinking the Value of Labels for Improving Class-Imbalanced Learning. NeurIPS 2020: labels under a long
tail carry its bias into the representation, rotations do not. As in the official code each image is turned once, at
random; then all but the last layer is kept and trained by cross-entropy. Both stages share one budget of rounds (the
code adds the first). The paper's other half, pseudo-labels for unlabelled data, is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net
from fedlt.pretext import TURNS, rotated
from fedlt.site import Batch, Site
from fedlt.task import Task


@dataclass(frozen=True)
class ValueOfLabels(CrossEntropy):
    """Stages: rotation (the backbone and a head of its own), labels (all by cross-entropy)."""

    alone: ClassVar[bool] = True

    pretrain: Annotated[float, "> 0", "< 1"] = 0.5  # share of the run's rounds without labels

    def build(self, model: Net, task: Task) -> None:
        if len(task.input_shape) != 3 or task.input_shape[1] != task.input_shape[2]:
            raise ValueError(f"rotations need square images, and the inputs have shape {task.input_shape}")
        model.rotation = nn.Linear(model.feature_dim, TURNS)

    def stages(self) -> tuple[Stage, ...]:
        labels = Stage("labels", 1 - self.pretrain, ("backbone.*", "head.*"))
        return Stage("rotation", self.pretrain, ("backbone.*", "rotation.*")), labels

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name == "labels":
            return super().loss(site, batch)
        x, turns = rotated(batch.x, site.rng)
        return F.cross_entropy(site.model.get_submodule("rotation")(site.model.encode(x)), turns)
