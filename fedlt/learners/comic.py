"""COMIC: several labels a sample, a long tail, and positives that nobody annotated.

Zhang, Liu, Zeng, Ooi, Tang, Zhuang: Learning in Imperfect Environment: Multi-Label Classification with Long-Tailed
Distribution and Partial Labels. ICCV 2023. Labels of which the model is sure are corrected, the loss weighs and focuses
by class, and two heads, for frequent and for rare classes, teach the one that predicts. Differs from the official code:
one backbone with three heads (there, three networks), confidences of each class and a bound decide what is corrected
(`corrector: literal`, `missing: null`: as there), the two heads' lessons enter by the logarithm of what they share with
the third, and co-occurring labels play no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from fedlt.blocks.asymmetric import asymmetric_terms
from fedlt.blocks.missing_positives import Corrector
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.head_tail import HEAD, TAIL, HeadTailHeads, heads_of
from fedlt.nn.net import Net
from fedlt.strategy import Strategy

TAIL_SHARE = 2.0  # how far the tail's head is moved along the mean feature
MOMENTUM = 0.9  # of the mean feature, and of a class's confidence


@dataclass(frozen=True)
class COMIC(Learner):
    """Corrected labels, a loss that weighs and focuses by class, and two heads that teach a third one."""

    needs: ClassVar[tuple[str, ...]] = ("several_labels", "head")
    vectorizable: ClassVar[bool] = False

    corrector: Literal["class_aware", "literal", "none"] = "class_aware"  # which labels that say no become positive
    floor: Annotated[float, ">= 0", "< 1"] = 0.8  # probability below which no label does
    start: Annotated[float, ">= 0", "<= 1"] = 0.3  # share of the run after which the corrector works
    missing: Annotated[float, ">= 0", "< 1"] | None = 0.5  # share of positives that may be missing; null: no bound
    margin: Annotated[float, ">= 0"] = 1.0  # by which logits of annotated positives are lowered
    modifier: bool = True  # class weights and focusing; false: binary cross-entropy
    gamma_pos: Annotated[float, ">= 0"] = 0.0  # focusing of positives
    gamma_neg: Annotated[float, ">= 0"] = 3.0  # of negatives, beside the class's weight
    shift: Annotated[float, ">= 0", "< 1"] = 0.05  # probability below which a negative does not count
    root: Annotated[float, ">= 1"] = 6.0  # of the class weights; the larger, the more alike they are
    balancer: bool = True  # three heads; false: the model's own
    scale: Annotated[float, "> 0"] = 16.0  # of the cosines of the three heads
    soft: Annotated[float, ">= 0"] = 0.03125  # what is added to the norm of a head's class

    def obstacle(self, strategy: Strategy) -> str | None:
        if not self.balancer or "head" in strategy.learner_parts:
            return None
        return "its three heads stand where the strategy has a head of its own; take learner.balancer=false"

    def build(self, model: Net, task: Task) -> None:
        if self.balancer:
            dim, classes = model.feature_dim, task.num_classes
            model.head = HeadTailHeads(dim, classes, self.scale, self.soft, TAIL_SHARE, MOMENTUM)

    @property
    def rule(self) -> Corrector | None:
        """What recovers labels; None where nothing does."""
        if self.corrector == "none":
            return None
        return Corrector("comic", self.corrector, self.floor, self.missing, MOMENTUM)

    def weights(self, counts: Tensor) -> Tensor:
        """[C] (1 - log(n_c / n_max))^(1 / root); a class without a positive counts as one that has one."""
        held = counts.clamp(min=1).float()
        return (1 - (held / held.max()).log()) ** (1 / self.root)

    def loss_of(self, logits: Tensor, annotated: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Sum over all entries, divided by the positives.

        Args:
            logits: [B, C] of any of the heads.
            annotated: [B, C] labels as they are given.
            labels: [B, C] the same, corrected.
            weights: [C] of the classes.
        """
        if self.corrector != "none":
            logits = logits - self.margin * (annotated == 1)
        if self.modifier:
            gammas = self.gamma_pos, self.gamma_neg + weights
            terms = weights * asymmetric_terms(logits, labels, *gammas, self.shift)
        else:
            terms = asymmetric_terms(logits, labels, 0.0, 0.0, 0.0)
        return terms.sum() / (labels == 1).sum().clamp(min=1)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        features = site.model.encode(batch.x)
        logits, y, counts = site.model.head(features), batch.y, site.class_counts
        trains = site.model.training  # else only asked for a loss, which moves nothing that is kept
        if (rule := self.rule) is not None and trains:
            y = rule(site, batch, logits.detach().float().sigmoid(), site.now >= self.start)
            counts = counts + rule.recovered(site)
        weights = self.weights(counts)
        whole = self.loss_of(logits, batch.y, y, weights)
        if not self.balancer:
            return whole

        heads = heads_of(site.model)
        if trains:
            heads.follow(features)
        taught = [heads.of(which, features) for which in (HEAD, TAIL)]
        own = torch.stack([self.loss_of(each, batch.y, y, weights) for each in taught])
        share = own.detach() ** 2 / (own.detach() ** 2).sum().clamp(min=1e-12)
        apart = torch.stack([disagreement(each.detach(), logits) for each in taught])
        return whole + own.sum() + (share * apart).sum()


def disagreement(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean over the batch of -log sum_c s_c t_c, with s and t the softmax of the student's and the teacher's logits."""
    return -torch.logsumexp(teacher.log_softmax(1) + student.log_softmax(1), 1).mean()
