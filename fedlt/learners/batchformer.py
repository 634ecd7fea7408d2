"""BatchFormer: a transformer layer over the batch lets samples learn from one another; it is dropped for prediction.

Hou, Yu, Tao: BatchFormer: Learning to Explore Sample Relationships for Robust Representation Learning. CVPR 2022.
The batch is the layer's sequence; features before and after it go through the same head with the same labels. As in
the official code: one post-norm layer, 4 heads, feed-forward width D, dropout 1/2. The loss is logit adjustment, as in
the paper's Balanced Softmax rows. In a federation the layer is averaged like any other part of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.blocks.priors import log_prior
from fedlt.learner import Learner
from fedlt.nn.net import Net
from fedlt.site import Batch, Site
from fedlt.task import Task


@dataclass(frozen=True)
class BatchFormer(Learner):
    """Adjusted cross-entropy over the features f and the layer's f', of which prediction uses f alone."""

    alone: ClassVar[bool] = True  # in one batched step of several clients, dropout would be shared between them

    tau: Annotated[float, ">= 0"] = 1.0  # of the logit adjustment; 0 is cross-entropy
    heads: Annotated[int, ">= 1"] = 4  # of the attention; must divide the feature dimension
    dropout: Annotated[float, ">= 0", "< 1"] = 0.5  # inside the layer

    def build(self, model: Net, task: Task) -> None:
        dim = model.feature_dim
        if dim % self.heads:
            raise ValueError(f"learner.heads={self.heads} must divide the {dim} features of the model")
        model.batchformer = nn.TransformerEncoderLayer(dim, self.heads, dim, self.dropout)

    def related(self, site: Site, features: Tensor) -> Tensor:
        """[B, D] what the layer makes of the batch's features."""
        return site.model.get_submodule("batchformer")(features[:, None])[:, 0]  # [B, 1, D]: the batch is a sequence

    def loss(self, site: Site, batch: Batch) -> Tensor:
        features = site.model.encode(batch.x)
        logits = site.model.head(torch.cat([features, self.related(site, features)]))
        return F.cross_entropy(logits + self.tau * log_prior(site.class_counts), batch.y.repeat(2))
