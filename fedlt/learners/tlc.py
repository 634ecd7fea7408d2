"""TLC: evidential experts that are asked one after the other, as long as the joint uncertainty is high.

Li, Han, Li, Fu, Zhang: Trustworthy Long-Tailed Classification. CVPR 2022. Logits are turned into Dirichlet evidence,
experts are fused by Dempster and Shafer's rule, and in training later experts engage with the uncertain samples only.
Differs from the official code: fusion weights are normalised over the experts of each sample (there, over the batch,
so that a prediction depends on its neighbours); experts may be left out at prediction (`exit_below`), which the code
lacks; margins are scaled to a largest value as in LDAM; no rotation in the augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import ldam_margins, with_margin
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Prediction
from fedlt.learners.ldam import LDAM
from fedlt.nn import evidence
from fedlt.nn.cosine import CosineHead
from fedlt.nn.experts import add_experts, cascade, experts_of
from fedlt.nn.net import Net

ANNEALED = 200 / 13_200  # weight of the evidence's regulariser at the end: epochs over the code's (160 + 500) / 0.05
SPREAD = 0.05  # how far the temperatures of the divergence follow the class frequencies


@dataclass(frozen=True)
class TLC(LDAM):
    """Sum over experts of margin loss + annealed KL to no evidence - divergence, over the samples that are engaged.

    The divergence is KL(fused prediction || expert's), the logits of class c being divided by a temperature T_c.
    """

    experts: Annotated[int, ">= 1"] = 3  # branches beyond the shared stem
    engage: Annotated[float, ">= 0", "< 1"] = 0.54  # least uncertainty, as a share of the batch's largest; 0: all
    diversity: Annotated[float, ">= 0"] = 0.01  # weight of the divergence from the fused prediction
    eta: Annotated[float, "> 0"] = 0.2  # temperature of the fusion weights
    exit_below: Annotated[float, ">= 0"] = 0.0  # joint uncertainty below which no further expert is asked; 0: never

    def build(self, model: Net, task: Task) -> None:
        add_experts(model, self.experts, lambda dim: CosineHead(dim, task.num_classes, self.scale))

    def loss(self, site: Site, batch: Batch) -> Tensor:
        each = experts_of(site.model).each(site.model.encode(batch.x)).float()
        margins, weights = self.scale * ldam_margins(site.class_counts, self.max_margin), self.class_weights(site)
        engaged = self.engaged(evidence.joint_uncertainty(each.detach())[:-1])

        heat = self.temperatures(site)
        joint = F.log_softmax(self.fused(each.detach()).logits / heat, 1)

        # Each expert learns from the samples for which it is asked, and away from the fused prediction.
        total = each.new_zeros(())
        for logits, counted in zip(each, engaged, strict=True):
            shifted = with_margin(logits, batch.y, margins)
            value = F.cross_entropy(shifted, batch.y, weights, reduction="none")
            value = value + ANNEALED * site.now * evidence.against_none(shifted, batch.y)

            apart = F.kl_div(F.log_softmax(logits / heat, 1), joint, reduction="none", log_target=True).sum(1)
            value = value - self.diversity * heat.mean() ** 2 * apart
            total = total + (value * counted).sum() / counted.sum().clamp(min=1)
        return total

    def engaged(self, uncertainty: Tensor) -> Tensor:
        """[M, B] whether a sample counts for an expert.

        Args:
            uncertainty: [M, B] joint one before each expert.
        """
        return uncertainty > self.engage * uncertainty.amax(1, keepdim=True)

    def temperatures(self, site: Site) -> Tensor:
        """[C] of the logits' columns: 1 at first; once weights are due, a little higher for frequent classes."""
        if self.class_weights(site) is None:
            return torch.ones(len(site.class_counts), device=site.class_counts.device)
        relative = site.class_counts / site.class_counts.sum() * (site.class_counts > 0).sum()
        return 1 - SPREAD + SPREAD * relative

    def predict(self, model: Net, x: Tensor) -> Prediction:
        if not self.exit_below:
            return self.fused(experts_of(model).each(model.encode(x)))
        return cascade(model, x, self.fused, self.unsure)

    def fused(self, each: Tensor) -> Prediction:
        """The joint prediction of the experts' logits [M, B, C]."""
        return evidence.fuse(each, self.eta)

    def unsure(self, index: int, features: Tensor, found: Prediction) -> Tensor:
        """[B] whether a further expert should be asked."""
        assert found.uncertainty is not None
        return found.uncertainty >= self.exit_below
