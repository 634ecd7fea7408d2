"""LWS, learnable weight scaling: plain training, then one number for each class scales its logit, on balanced draws.

Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: Decoupling Representation and Classifier for Long-Tailed
Recognition. ICLR 2020, section 4: tau-normalisation with scales that are learnt, while backbone and head stay. As in
the official code the bias is scaled, too. Both stages share one budget of rounds. In the second stage running
statistics are frozen like the weights; the official code lets them move (`statistics=true`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

from torch import nn

from fedlt.data.samplers import Power
from fedlt.data.task import Task
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net
from fedlt.nn.scaled import ScaledHead


@dataclass(frozen=True)
class LWS(CrossEntropy):
    """Stages: representation (backbone and head), scale (the head's scales alone, class-balanced)."""

    needs: ClassVar[tuple[str, ...]] = ("linear_head",)

    scale_share: Annotated[float, "> 0", "< 1"] = 0.2  # of the run's rounds
    cached: bool = False  # learn the scales on features computed once a round, without augmentation
    statistics: bool = False  # running statistics follow the balanced draws; not with cached

    def build(self, model: Net, task: Task) -> None:
        model.head = ScaledHead(cast(nn.Linear, model.head))

    def stages(self) -> tuple[Stage, ...]:
        representation = Stage("representation", 1 - self.scale_share, ("backbone.*", "head.weight", "head.bias"))
        scale = Stage(
            "scale",
            self.scale_share,
            only=("head.scale",),
            sampler=Power(0.0),
            encoded=self.cached,
            statistics=self.statistics,
        )
        return representation, scale
