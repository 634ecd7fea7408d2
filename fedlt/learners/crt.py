"""cRT: the representation is learnt on the data as they are, then the classifier anew on balanced draws.

Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: Decoupling Representation and Classifier for Long-Tailed
Recognition. ICLR 2020. Both stages share one budget of rounds. The head starts again at zero, which is the same point
for every client of a federation and loses nothing, since the second problem is convex. In the second stage running
statistics are frozen like the weights; the official code lets them move (`statistics=true`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fedlt.data.samplers import Power
from fedlt.data.site import Site
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy


@dataclass(frozen=True)
class CRT(CrossEntropy):
    """Stages: representation (all parameters), classifier (the head, class-balanced)."""

    needs: ClassVar[tuple[str, ...]] = ("head",)
    young: ClassVar[tuple[str, ...]] = ("statistics",)

    classifier_share: Annotated[float, "> 0", "< 1"] = 0.2  # of the run's rounds
    cached: bool = False  # train the head on features computed once a round, without augmentation
    statistics: bool = False  # running statistics follow the balanced draws; not with cached

    def stages(self) -> tuple[Stage, ...]:
        classifier = Stage(
            "classifier",
            self.classifier_share,
            only=("head.*",),
            sampler=Power(0.0),
            encoded=self.cached,
            statistics=self.statistics,
        )
        return Stage("representation", 1 - self.classifier_share), classifier

    def begin(self, site: Site) -> None:
        if site.stage.name == "classifier" and site.stage_begins:
            for parameter in site.model.head.parameters():
                parameter.zero_()
