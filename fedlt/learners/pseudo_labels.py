"""Pseudo-labels: a model trained on the labelled samples labels the others, and goes on with all of them.

Yang, Xu: Rethinking the Value of Labels for Improving Class-Imbalanced Learning. NeurIPS 2020, the semi-supervised
half: unlabelled samples help the tail, and the less so the more they are long-tailed themselves. As in the official
code labels are hard, every sample gets one whatever the confidence, and the loss is cross-entropy. Differs in that the
student goes on from the teacher (there, it starts anew), both share one budget of samples, and the rotation of the
paper's other half (`value_of_labels`) may come first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch

from fedlt.data.site import Site
from fedlt.data.task import Task
from fedlt.learner import Stage, headline, within
from fedlt.learners.value_of_labels import ValueOfLabels
from fedlt.nn.net import Net

LABELS = "pseudo_labels/labels"  # state: [u] what the teacher made of the site's unlabelled samples


@dataclass(frozen=True)
class PseudoLabels(ValueOfLabels):
    """Stages: those of `value_of_labels` (teacher; without its rotation unless asked for), student (on all samples)."""

    needs: ClassVar[tuple[str, ...]] = ("unlabelled", "single_label")

    pretrain: Annotated[float, ">= 0", "< 1"] = 0.0  # share of the teacher's rounds without labels
    student: Annotated[float, "> 0", "< 1"] = 0.5  # share of the run's rounds with pseudo-labels

    def build(self, model: Net, task: Task) -> None:
        if self.pretrain:
            super().build(model, task)

    def stages(self) -> tuple[Stage, ...]:
        student = Stage("student", self.student, ("backbone.*", "head.*"))
        return *within(1 - self.student, super().stages()), student

    def begin(self, site: Site) -> None:
        super().begin(site)
        others = site.unlabelled
        if site.stage.name != "student" or not others:
            return
        if LABELS not in site.state:
            found = site.scan(lambda batch: headline(self.predict(site.model, batch.x)).argmax(1), data=others)
            site.state[LABELS] = torch.cat(found)
        labels = site.state[LABELS]
        site.class_counts = site.class_counts + torch.bincount(labels, minlength=len(site.class_counts))
        site.data = site.data.joined(replace(others, targets=others.targets.index_put((others.index,), labels)))
