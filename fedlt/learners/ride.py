"""RIDE: experts on one stem, each trained for itself and driven apart, and a router that asks as many as it takes.

Wang, Lian, Miao, Liu, Yu: Long-tailed Recognition by Routing Diverse Distribution-Aware Experts. ICLR 2021. Each
expert has LDAM-DRW's loss, minus its divergence from the experts' mean. Then, if asked for, a router is trained on the
frozen experts: after an expert another one is wanted if the mean so far is wrong and some later mean, of more experts,
is right, as in the official code; it is what asking on can bring. The paper speaks of some later expert by itself
(`target=experts`). Differs from the official code: only the stem is shared (there, the first of three groups of blocks
too), the experts keep their full width, the divergence has one temperature, and both stages share one budget of
rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Logits, Prediction, Stage
from fedlt.learners.ldam import LDAM
from fedlt.nn.cosine import CosineHead
from fedlt.nn.experts import Router, add_experts, cascade, experts_of
from fedlt.nn.net import Net


@dataclass(frozen=True)
class RIDE(LDAM):
    """Stages: experts (sum of LDAM-DRW's losses - diversity * KL(mean || expert)), router (if it has a share)."""

    young: ClassVar[tuple[str, ...]] = ("target",)

    experts: Annotated[int, ">= 2"] = 3  # branches beyond the shared stem
    diversity: Annotated[float, ">= 0"] = 0.45  # weight of the divergence from the mean
    router: Annotated[float, ">= 0", "< 1"] = 0.0  # share of the run's rounds; 0: every expert sees every sample
    target: Literal["means", "experts"] = "means"  # what must be right later on for another expert to be wanted
    wanted: Annotated[float, "> 0"] = 100.0  # weight of the samples that need a further expert, in the router's loss

    def build(self, model: Net, task: Task) -> None:
        dim = model.feature_dim
        add_experts(model, self.experts, lambda dim: CosineHead(dim, task.num_classes, self.scale))
        if self.router:
            model.router = Router(dim, task.num_classes, self.experts)

    def stages(self) -> tuple[Stage, ...]:
        if not self.router:
            return (Stage("experts"),)
        experts = Stage("experts", 1 - self.router, ("backbone.*", "head.*"))
        return experts, Stage("router", self.router, ("router.*",), encoded=True)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        features = site.model.encode(batch.x)
        each = experts_of(site.model).each(features)
        if site.stage.name == "router":
            return self.routing_loss(site.model.part("router"), features, each.detach(), batch.y)
        losses = [self.margin_loss(site, logits, batch.y) for logits in each]
        return sum(losses, -self.diversity * divergence_from_mean(each))

    def routing_loss(self, router: Router, features: Tensor, each: Tensor, y: Tensor) -> Tensor:
        """Mean over experts but the last of the weighted binary cross-entropy of "another one is needed".

        Args:
            features: [B, M * D].
            each: [M, B, C] logits, for which there is no gradient.
        """
        needed, parts, losses = self.needed(each, y), features.chunk(len(each), 1), []
        for index in range(len(each) - 1):
            mean = each[: index + 1].mean(0)
            weight = torch.full((), self.wanted, device=y.device)
            score = router(index, parts[index], mean)
            losses.append(F.binary_cross_entropy_with_logits(score, needed[index].float(), pos_weight=weight))
        return torch.stack(losses).mean()

    def needed(self, each: Tensor, y: Tensor) -> Tensor:
        """[M - 1, B] whether another expert is wanted after each but the last: the mean so far is wrong, and some later
        mean (or some later expert by itself) is right.

        Args:
            each: [M, B, C] logits.
        """
        means = each.cumsum(0).argmax(2) == y  # sums have the means' largest class
        right = means if self.target == "means" else each.argmax(2) == y
        return torch.stack([~means[index] & right[index + 1 :].any(0) for index in range(len(each) - 1)])

    def predict(self, model: Net, x: Tensor) -> Logits:
        if not self.router:
            return model(x)
        router = model.part("router")
        return cascade(
            model,
            x,
            lambda each: Prediction(each.mean(0)),
            lambda index, features, found: router(index, features, found.logits) > 0,
        )


def divergence_from_mean(each: Tensor) -> Tensor:
    """Sum over experts of the batch mean of KL(softmax of the mean logits || softmax of the expert's).

    The mean is a constant for the gradient.

    Args:
        each: [M, B, C] logits.
    """
    mean = F.log_softmax(each.mean(0).detach(), 1).expand_as(each)
    return F.kl_div(F.log_softmax(each, 2), mean, reduction="sum", log_target=True) / each.shape[1]
