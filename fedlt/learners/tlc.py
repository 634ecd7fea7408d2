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

from fedlt.learner import Prediction
from fedlt.learners.ldam import LDAM
from fedlt.nn import evidence
from fedlt.nn.cosine import CosineHead
from fedlt.nn.experts import ExpertHeads, Experts, add_experts
from fedlt.nn.net import CachedInputs, Net
from fedlt.priors import ldam_margins, with_margin
from fedlt.site import Batch, Site
from fedlt.task import Task

ANNEALED = 200 / 13_200  # weight of the evidence's regulariser at the end: epochs over the code's (160 + 500) / 0.05
SPREAD = 0.05  # how far the temperatures of the divergence follow the class frequencies


@dataclass(frozen=True)
class TLC(LDAM):
    """Sum over experts of margin loss + annealed KL to no evidence - divergence, over the samples that are engaged."""

    experts: Annotated[int, ">= 1"] = 3  # branches beyond the shared stem
    engage: Annotated[float, ">= 0", "< 1"] = 0.54  # least uncertainty, as a share of the batch's largest; 0: all
    diversity: Annotated[float, ">= 0"] = 0.01  # weight of the divergence from the mean
    eta: Annotated[float, "> 0"] = 0.2  # temperature of the fusion weights
    exit_below: Annotated[float, ">= 0"] = 0.0  # joint uncertainty below which no further expert is asked; 0: never

    def build(self, model: Net, task: Task) -> None:
        add_experts(model, self.experts, lambda dim: CosineHead(dim, task.num_classes, self.scale))

    def loss(self, site: Site, batch: Batch) -> Tensor:
        each = _heads(site.model).each(site.model.encode(batch.x)).float()
        margins, weights = self.scale * ldam_margins(site.class_counts, self.max_margin), self.class_weights(site)
        engaged = self.engaged(evidence.joint_uncertainty(each.detach())[:-1])
        heat = self._temperatures(site, batch.y)[:, None]
        mean = F.log_softmax(each.detach().mean(0) / heat, 1)
        total = each.new_zeros(())
        for logits, counted in zip(each, engaged, strict=True):
            shifted = with_margin(logits, batch.y, margins)
            value = F.cross_entropy(shifted, batch.y, weights, reduction="none")
            value = value + ANNEALED * site.now * evidence.against_none(shifted, batch.y)
            apart = F.kl_div(F.log_softmax(logits / heat, 1), mean, reduction="none", log_target=True).sum(1)
            value = value - self.diversity * heat[:, 0] ** 2 * apart
            total = total + (value * counted).sum() / counted.sum().clamp(min=1)
        return total

    def engaged(self, uncertainty: Tensor) -> Tensor:
        """[M, B] whether a sample counts for an expert. uncertainty: [M, B] joint one before each expert."""
        return uncertainty > self.engage * uncertainty.amax(1, keepdim=True)

    def _temperatures(self, site: Site, y: Tensor) -> Tensor:
        """[B] 1 at first; once weights are due, a little higher for frequent classes and lower for rare ones."""
        if self.class_weights(site) is None:
            return torch.ones(len(y), device=y.device)
        relative = site.class_counts / site.class_counts.sum() * (site.class_counts > 0).sum()
        return (1 - SPREAD + SPREAD * relative)[y]

    def predict(self, model: Net, x: Tensor) -> Prediction:
        if not self.exit_below:
            return evidence.fuse(_heads(model).each(model.encode(x)), self.eta)
        return self._cascade(model, x.inputs() if isinstance(x, CachedInputs) else x)

    def _cascade(self, model: Net, x: Tensor) -> Prediction:
        """Experts one after the other, on the samples whose joint uncertainty is still high."""
        assert isinstance(model.backbone, Experts)
        shared, each = model.backbone.stem(x), []
        asked = torch.arange(len(x), device=x.device)
        used = torch.zeros(len(x), device=x.device)
        result = Prediction(torch.empty(0))
        for branch, head in zip(model.backbone.branches, _heads(model).heads, strict=True):
            each.append(head(branch(shared[asked])))
            found = evidence.fuse(torch.stack(each), self.eta)
            assert found.uncertainty is not None
            if result.uncertainty is None:
                result = found
            else:
                result.logits[asked], result.uncertainty[asked] = found.logits, found.uncertainty
            used[asked] += 1
            open_ = found.uncertainty >= self.exit_below
            asked, each = asked[open_], [logits[open_] for logits in each]
        return Prediction(result.logits, result.uncertainty, used)


def _heads(model: Net) -> ExpertHeads:
    assert isinstance(model.head, ExpertHeads)
    return model.head
