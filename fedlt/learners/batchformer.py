"""BatchFormer: a transformer layer over the batch lets samples learn from one another; it is dropped for prediction.

Hou, Yu, Tao: BatchFormer: Learning to Explore Sample Relationships for Robust Representation Learning. CVPR 2022. The
batch is the layer's sequence; features before and after it go through the same head with the same labels. As in the
official code: one post-norm layer, 4 heads, feed-forward width D, dropout 1/2. The loss is logit adjustment, as in the
paper's Balanced Softmax rows. In a federation the layer is averaged like any other part of the model. The loss is the
mean over both, as in the paper; the code adds that of f, of f' and of both, which is three times as much, and trains
the layer at a tenth of the rate: `weight=3 layer_rate=0.1`. Three times the loss is three times the learning rate,
which a comparison at one rate would not be told of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner, Stage
from fedlt.nn.net import Net


@dataclass(frozen=True)
class BatchFormer(Learner):
    """Adjusted cross-entropy over the features f and the layer's f', of which prediction uses f alone."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    young: ClassVar[tuple[str, ...]] = ("weight", "layer_rate")
    vectorizable: ClassVar[bool] = False  # in one batched step of several clients, dropout would be shared between them

    tau: Annotated[float, ">= 0"] = 1.0  # of the logit adjustment; 0 is cross-entropy
    heads: Annotated[int, ">= 1"] = 4  # of the attention; must divide the feature dimension
    dropout: Annotated[float, ">= 0", "< 1"] = 0.5  # inside the layer
    weight: Annotated[float, "> 0"] = 1.0  # of the loss; 3 is the official code's sum
    layer_rate: Annotated[float, "> 0"] = 1.0  # learning rate of the layer, times local.lr; 0.1 in the official code

    def build(self, model: Net, task: Task) -> None:
        dim = model.feature_dim
        if dim % self.heads:
            raise ValueError(f"learner.heads={self.heads} must divide the {dim} features of the model")
        model.batchformer = nn.TransformerEncoderLayer(dim, self.heads, dim, self.dropout)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(rates={} if self.layer_rate == 1 else {"batchformer.*": self.layer_rate}),)

    def related(self, site: Site, features: Tensor) -> Tensor:
        """[B, D] what the layer makes of the batch's features, which are one sequence [B, 1, D] to it."""
        return site.model.part("batchformer")(features[:, None])[:, 0]  # type: ignore[no-any-return]

    def loss(self, site: Site, batch: Batch) -> Tensor:
        features = site.model.encode(batch.x)
        logits = site.model.head(torch.cat([features, self.related(site, features)]))
        return self.weight * F.cross_entropy(logits + self.tau * log_prior(site.class_counts), batch.y.repeat(2))
