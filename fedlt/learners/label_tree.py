"""Label tree: the parents of the classes help to learn the tail, whose classes have siblings with more samples.

Two usual ways to use a tree of two levels (`data.parents`), no paper's own; arXiv 2411.19119 compares methods of the
kind on texts.

- `auxiliary`: a second linear head on the same features predicts the parent. The loss is the sum of both
  cross-entropies; a prediction adds `decode` log p(parent of c) to log p(c).
- `marginal`: no further head. A parent's probability is the sum of its classes', and its cross-entropy joins the loss.

`consistent` is a further variant of the predictions: the most probable parent first, then the best class under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner, Logits
from fedlt.nn.net import Net

FAR = 1e4
"""Nats by which classes of other parents are lowered: they come after all others, and keep their order."""


@dataclass(frozen=True)
class LabelTree(Learner):
    """Cross-entropy of the class plus that of its parent."""

    needs: ClassVar[tuple[str, ...]] = ("class_tree", "head", "single_label")

    kind: Literal["auxiliary", "marginal"] = "auxiliary"  # the parent's probability: of a head, or summed over classes
    weight: Annotated[float, ">= 0"] = 1.0  # of the parents' cross-entropy; 0 learns the classes alone
    decode: Annotated[float, ">= 0"] = 0.5  # auxiliary: weight of log p(parent) in predictions; 0: the classes' alone
    tau: Annotated[float, ">= 0"] = 0.0  # logit adjustment of the classes while training; the parents keep their prior

    def build(self, model: Net, task: Task) -> None:
        parents = torch.from_numpy(np.asarray(task.parents))
        model.register_buffer("members", parents == torch.arange(int(parents.max()) + 1)[:, None])
        if self.kind == "auxiliary":
            model.parent_head = nn.Linear(model.feature_dim, len(model.part("members")))

    def loss(self, site: Site, batch: Batch) -> Tensor:
        features = site.model.encode(batch.x)
        logits = site.model.head(features)
        adjusted = logits + self.tau * log_prior(site.class_counts) if self.tau else logits

        parents = self._log_parents(site.model, features, logits)
        true = _parent_of(site.model)[batch.y]
        return F.cross_entropy(adjusted, batch.y) + self.weight * F.nll_loss(parents, true)

    def predict(self, model: Net, x: Tensor) -> Logits:
        features = model.encode(x)
        classes = model.head(features).log_softmax(1)
        parents = self._log_parents(model, features, classes)

        joined = classes
        if self.kind == "auxiliary":
            joined = classes + self.decode * parents[:, _parent_of(model)]
        under = parents.argmax(1, keepdim=True) == _parent_of(model)
        return {"": joined, "consistent": torch.where(under, classes, classes - FAR)}

    def _log_parents(self, model: Net, features: Tensor, logits: Tensor) -> Tensor:
        """[B, P] log-probabilities of the parents.

        Args:
            features: [B, D].
            logits: [B, C] of the classes.
        """
        if self.kind == "auxiliary":
            return cast(Tensor, model.part("parent_head")(features)).log_softmax(1)
        by_parent = logits.log_softmax(1)[:, None].masked_fill(~model.part("members"), float("-inf"))
        return by_parent.logsumexp(2)


def _parent_of(model: Net) -> Tensor:
    """int64 [C] the parent of each class, of `members` [P, C]."""
    return cast(Tensor, model.part("members").int().argmax(0))
