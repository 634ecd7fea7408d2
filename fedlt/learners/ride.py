"""RIDE: experts on one stem, each trained for itself and driven apart, and averaged when predicting.

Wang, Lian, Miao, Liu, Yu: Long-tailed Recognition by Routing Diverse Distribution-Aware Experts. ICLR 2021. Each
expert has LDAM-DRW's loss, minus its divergence from the experts' mean. Differs from the official code: only the stem
is shared (there, the first of three groups of blocks too), the experts keep their full width, the divergence has one
temperature, and there is no second stage that trains a router, so that every expert sees every sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from fedlt.learners.ldam import LDAM
from fedlt.nn.cosine import CosineHead
from fedlt.nn.experts import ExpertHeads, add_experts
from fedlt.nn.net import Net
from fedlt.site import Batch, Site
from fedlt.task import Task


@dataclass(frozen=True)
class RIDE(LDAM):
    """Sum over experts of LDAM-DRW's loss - diversity * KL(mean || expert)."""

    experts: Annotated[int, ">= 2"] = 3  # branches beyond the shared stem
    diversity: Annotated[float, ">= 0"] = 0.45  # weight of the divergence from the mean

    def build(self, model: Net, task: Task) -> None:
        add_experts(model, self.experts, lambda dim: CosineHead(dim, task.num_classes, self.scale))

    def loss(self, site: Site, batch: Batch) -> Tensor:
        heads = site.model.head
        assert isinstance(heads, ExpertHeads)
        each = heads.each(site.model.encode(batch.x))
        apart = divergence_from_mean(each)
        losses = [self.margin_loss(site, logits, batch.y) for logits in each]
        return sum(losses, -self.diversity * apart)


def divergence_from_mean(each: Tensor) -> Tensor:
    """Sum over experts of the batch mean of KL(softmax of the mean logits || softmax of the expert's).

    each: [M, B, C] logits. The mean is a constant for the gradient.
    """
    mean = F.log_softmax(each.mean(0).detach(), 1).expand_as(each)
    return F.kl_div(F.log_softmax(each, 2), mean, reduction="sum", log_target=True) / each.shape[1]
