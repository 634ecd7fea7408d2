"""Resampling: cross-entropy, on samples that are drawn by class.

Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: Decoupling Representation and Classifier for Long-Tailed
Recognition. ICLR 2020, section 3: class-balanced, square root, progressive. Cool-down: Li and others, Upsample or
Upweight? Balanced Training on Heavily Imbalanced Datasets, NAACL 2025, with classes in place of the paper's domains.
All draw with replacement, as many samples in an epoch as the site holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fedlt.data import samplers
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy


@dataclass(frozen=True)
class Resampling(CrossEntropy):
    """Classes are drawn with shares proportional to n_c^power, or by a schedule."""

    kind: Literal["power", "progressive", "cooldown"] = "power"  # the last two change over the run
    power: Annotated[float, ">= 0", "<= 1"] = 0.0  # power: 0 class-balanced, 0.5 square root, 1 as the data are
    temperature: Annotated[float, ">= 1"] = 5.0  # cooldown: power 1 / temperature at first, 1 later
    until: Annotated[float, ">= 0", "<= 1"] = 0.5  # cooldown: share of the run that is warm

    def stages(self) -> tuple[Stage, ...]:
        chosen: dict[str, samplers.Sampler] = {
            "power": samplers.Power(self.power),
            "progressive": samplers.Progressive(),
            "cooldown": samplers.Cooldown(self.temperature, self.until),
        }
        return (Stage(sampler=chosen[self.kind]),)
