"""SADE: three experts, one for the long tail as it is, one for equal classes, one for the tail turned round.

Zhang, Hooi, Hong, Feng: Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition.
NeurIPS 2022. Experts on a shared stem are trained by cross-entropy of z, of z + log pi, and of z + log pi -
tau log pi', where pi' are the class shares pi in reverse order of rank; the mean of their logits predicts. The second
half of the paper, which weighs the experts by their stability on the test set's images, is left out: it would adapt to
test data. Differs from the official code: only the stem is shared (there, the first group of blocks too), experts keep
their full width, pi and pi' are of the site's own classes, and a class that it lacks is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import log_prior, reversed_counts
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.cosine import CosineHead
from fedlt.nn.experts import add_experts, experts_of
from fedlt.nn.net import Net

EXPERTS = 3


@dataclass(frozen=True)
class SADE(Learner):
    """Sum over the experts of the cross-entropy of their logits, shifted by `shifts`."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")

    tau: Annotated[float, ">= 0"] = 2.0  # how far the third expert favours rare classes; 0 makes it the second
    scale: Annotated[float, "> 0"] = 30.0  # of the cosines

    def build(self, model: Net, task: Task) -> None:
        add_experts(model, EXPERTS, lambda dim: CosineHead(dim, task.num_classes, self.scale))

    def shifts(self, counts: Tensor) -> Tensor:
        """[3, C] what is added to the logits of each expert, given the site's counts [C]."""
        prior, turned = log_prior(counts), log_prior(reversed_counts(counts))
        inverse = prior - self.tau * torch.where(counts > 0, turned, 0.0)
        return torch.stack([torch.zeros_like(prior), prior, inverse])

    def loss(self, site: Site, batch: Batch) -> Tensor:
        each = experts_of(site.model).each(site.model.encode(batch.x))
        shifted = each + self.shifts(site.class_counts)[:, None]
        return torch.stack([F.cross_entropy(logits, batch.y) for logits in shifted]).sum()
