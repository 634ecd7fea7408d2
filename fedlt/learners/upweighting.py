"""Upweighting: samples weigh in the loss as much as resampling would draw them.

Li and others: Upsample or Upweight? Balanced Training on Heavily Imbalanced Datasets. NAACL 2025, where it is called
scalarisation: the counterpart of temperature sampling (`resampling`), with the same objective and a gradient of larger
variance, the more so the larger the temperature and the skew. Shares are of the site's own samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.class_tree import expect_parents
from fedlt.data.samplers import Groups
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.net import Net


@dataclass(frozen=True)
class Upweighting(Learner):
    """A sample of group g weighs p_g(temperature) / p_g(1), where p_g(t) is proportional to n_g^(1 / t)."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)

    temperature: Annotated[float, ">= 1"] = 5.0  # 1 is cross-entropy; the larger, the more alike groups count
    by: Groups = "class"  # what is balanced: classes, or their parents in the tree of data.parents

    def build(self, model: Net, task: Task) -> None:
        expect_parents(self.by, task.parents)
        if self.by == "parent":  # classes are their own groups, for which nothing need travel
            model.register_buffer("groups", torch.as_tensor(task.parents))

    def loss(self, site: Site, batch: Batch) -> Tensor:
        counts, group = site.class_counts.float(), batch.y
        if self.by == "parent":
            groups = site.model.part("groups")
            counts, group = torch.zeros_like(counts).index_add(0, groups, counts), groups[batch.y]

        nll = F.cross_entropy(site.model(batch.x), batch.y, reduction="none")
        return (group_weights(counts, self.temperature)[group] * nll).mean()


def group_weights(counts: Tensor, temperature: float) -> Tensor:
    """[G] of groups with these numbers of samples [G]; their mean over the samples is 1, and 0 is for empty groups."""
    drawn = torch.where(counts > 0, counts.clamp(min=1) ** (1 / temperature), 0.0)
    return drawn / drawn.sum() * counts.sum() / counts.clamp(min=1)
