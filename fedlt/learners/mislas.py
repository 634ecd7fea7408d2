"""MiSLAS: mixup for the representation, then a head on balanced draws whose labels are smoothed by class frequency.

Zhong, Cui, Liu, Jia: Improving Calibration for Long-Tailed Recognition. CVPR 2021. Mixup calibrates and draws
features that a new head can use; in the second stage a frequent class, of which a model is too sure, gets more label
smoothing than a rare one, the head goes on at a small rate, a scale for each class is learnt beside it, and running
statistics move to those of balanced draws. As in the official code the smoothed part is the mean of -log p over all
classes, the true one included. Differs from it: the second stage has its share of one budget (there, 10 epochs after
200), class counts are the site's own, and where all its classes are of one size, they are smoothed like the rarest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Annotated, ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.samplers import Power
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Stage
from fedlt.learners.mixup import Mixup
from fedlt.nn.net import Net
from fedlt.nn.scaled import ScaledHead


@dataclass(frozen=True)
class MiSLAS(Mixup):
    """Stages: representation (mixup), classifier (head and its scales, class-balanced, label-aware smoothing)."""

    needs: ClassVar[tuple[str, ...]] = ("linear_head", "single_label")

    classifier_share: Annotated[float, "> 0", "< 1"] = 0.2  # of the run's rounds
    head_rate: Annotated[float, "> 0"] = 0.2  # learning rate of the head in the second stage, times local.lr
    smooth_head: Annotated[float, ">= 0", "<= 1"] = 0.4  # label smoothing of the largest class
    smooth_tail: Annotated[float, ">= 0", "<= 1"] = 0.1  # of the smallest one
    statistics: bool = True  # running statistics follow the balanced draws; false: they stay as the backbone does

    def build(self, model: Net, task: Task) -> None:
        super().build(model, task)
        model.head = ScaledHead(cast(nn.Linear, model.head))

    def stages(self) -> tuple[Stage, ...]:
        parts = "backbone.*", "head.weight", "head.bias"
        representation = Stage("representation", 1 - self.classifier_share, parts)

        rates = {"head.scale": 1.0, "head.*": self.head_rate}
        moving = self.statistics
        classifier = Stage("classifier", self.classifier_share, ("head.*",), Power(0.0), rates=rates, statistics=moving)
        return representation, classifier

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name == "representation":
            return super().loss(site, batch)
        logs = F.log_softmax(site.model(batch.x), dim=1)
        part = smoothing(site.class_counts, self.smooth_head, self.smooth_tail)[batch.y]
        nll = F.nll_loss(logs, batch.y, reduction="none")
        return ((1 - part) * nll - part * logs.mean(1)).mean()


def smoothing(counts: Tensor, head: float, tail: float) -> Tensor:
    """[C] label smoothing: from `tail`, of the smallest class that there is, to `head`, of the largest, along the first
    quarter of a sine in the number of samples.

    Args:
        counts: [C].
    """
    largest = counts.max()
    smallest = counts.where(counts > 0, largest).min()
    place = (counts - smallest).clamp(min=0) / (largest - smallest).clamp(min=1)
    return tail + (head - tail) * (pi / 2 * place).sin()
