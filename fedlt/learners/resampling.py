"""Resampling: cross-entropy, on samples that are drawn by class, or by domain.

Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: Decoupling Representation and Classifier for Long-Tailed
Recognition. ICLR 2020, section 3: class-balanced, square root, progressive. Cool-down: Li and others, Upsample or
Upweight? Balanced Training on Heavily Imbalanced Datasets, NAACL 2025, whose domains are the parents of classes
(`by: parent`). All draw with replacement, as many samples in an epoch as the site holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from fedlt.data import samplers
from fedlt.data.class_tree import expect_parents
from fedlt.data.samplers import Groups
from fedlt.data.task import Task
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net


@dataclass(frozen=True)
class Resampling(CrossEntropy):
    """Groups are drawn with shares proportional to n_g^power, or by a schedule."""

    young: ClassVar[tuple[str, ...]] = ("by",)

    kind: Literal["power", "progressive", "cooldown"] = "power"  # the last two change over the run
    power: Annotated[float, ">= 0", "<= 1"] = 0.0  # power: 0 balanced, 0.5 square root, 1 as the data are
    temperature: Annotated[float, ">= 1"] = 5.0  # cooldown: power 1 / temperature at first, 1 later
    until: Annotated[float, ">= 0", "<= 1"] = 0.5  # cooldown: share of the run that is warm
    by: Groups = "class"  # what is balanced: classes, or their parents in the tree of data.parents

    def build(self, model: Net, task: Task) -> None:
        expect_parents(self.by, task.parents)

    def stages(self) -> tuple[Stage, ...]:
        chosen: dict[str, samplers.Sampler] = {
            "power": samplers.Power(self.power, self.by),
            "progressive": samplers.Progressive(self.by),
            "cooldown": samplers.Cooldown(self.temperature, self.until, self.by),
        }
        return (Stage(sampler=chosen[self.kind]),)
