"""Models of several origins: those that began differently pre-trained learn side by side, and their logits are added.

Chen, Qin, Li, Chen, Su: Rethinking the Bias of Foundation Model under Long-tailed Distribution.
ICML 2025. What a class was rare in before stays in the parameters, beside the imbalance of the data at hand, and logit
adjustment mends the latter alone. The paper adjusts for the unseen cause by a sum over foundation models: each is tuned
by logit adjustment with a cosine head, and the sum of their logits predicts. Differs from the official code: models are
whole or have the adapter of `model.adapter` (there, AdaptFormer), heads start at random unit vectors (there, at those
of class names), and the mean stands for the sum: its largest class is the same, its probabilities one model's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learners.logit_adjustment import LogitAdjustment
from fedlt.nn.cosine import CosineHead
from fedlt.nn.experts import ExpertHeads, experts_of
from fedlt.nn.net import Net
from fedlt.nn.side_by_side import put_side_by_side


@dataclass(frozen=True)
class FoundationBias(LogitAdjustment):
    """Sum over the models of the adjusted cross-entropy of each; the variants `model0`, ... are of each by itself."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")

    models: Annotated[int, ">= 1"] = 3  # side by side; init_from=[A, B, C] says what each begins with
    scale: Annotated[float, "> 0"] = 25.0  # of the cosines

    def build(self, model: Net, task: Task) -> None:
        dim = model.feature_dim
        put_side_by_side(model, self.models)
        model.head = ExpertHeads([CosineHead(dim, task.num_classes, self.scale) for _ in range(self.models)])

    def loss(self, site: Site, batch: Batch) -> Tensor:
        each = experts_of(site.model).each(site.model.encode(batch.x))
        adjusted = (each + self.tau * log_prior(site.class_counts)).flatten(0, 1)
        return self.models * F.cross_entropy(adjusted, batch.y.repeat(self.models))

    def predict(self, model: Net, x: Tensor) -> dict[str, Tensor]:
        each = experts_of(model).each(model.encode(x))
        return {"together": each.mean(0), **{f"model{number}": logits for number, logits in enumerate(each)}}
