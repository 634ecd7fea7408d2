"""LDAM: the true class must win by a margin, and by a larger one the rarer it is; class weights come late (DRW).

Cao, Wei, Gaidon, Arechiga, Ma: Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss. NeurIPS 2019.
As in the official code: cosine head, logits times 30, largest margin 1/2, and from 80 % of the run on (of the stage, in
methods that have several) the weights of `class_balanced`, normalised within the batch. Differs in that margins and
weights follow the site's own counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import effective_weights, ldam_margins, with_margin
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.cosine import CosineHead
from fedlt.nn.net import Net


@dataclass(frozen=True)
class LDAM(Learner):
    """Cross-entropy of scale * (cos - m_y), with m_c proportional to n_c^(-1/4)."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")

    max_margin: Annotated[float, ">= 0"] = 0.5  # of the rarest class, in cosines
    scale: Annotated[float, "> 0"] = 30.0  # of the cosines
    defer: Annotated[float, ">= 0", "<= 1"] | None = 0.8  # share of the stage before class weights; null: LDAM without
    beta: Annotated[float, ">= 0", "< 1"] = 0.9999  # of the class weights

    def build(self, model: Net, task: Task) -> None:
        model.head = CosineHead(model.feature_dim, task.num_classes, self.scale)

    def class_weights(self, site: Site) -> Tensor | None:
        """[C] once they are due."""
        due = self.defer is not None and site.stage_progress >= self.defer
        return effective_weights(site.class_counts, self.beta) if due else None

    def margin_loss(self, site: Site, logits: Tensor, y: Tensor) -> Tensor:
        """The loss, given the logits before the margin."""
        margins = self.scale * ldam_margins(site.class_counts, self.max_margin)
        return F.cross_entropy(with_margin(logits, y, margins), y, self.class_weights(site))

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return self.margin_loss(site, site.model(batch.x), batch.y)
