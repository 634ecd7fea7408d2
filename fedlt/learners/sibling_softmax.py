"""Sibling softmax: one model for many domains, trained as if the domain of each sample were known.

The loss of a sample is over the classes of its own domain alone, those under the same parent (`data.parents`), so
that classes of other domains push nothing down. Predictions are over all classes; where clients are domains, the masked
personal figures are those of a prediction that is told the domain. Training over all classes with the mask at
prediction alone is `learner=cross_entropy` read by the same figures: one encoder and the union of heads for several
problems, as in the chatbots of arXiv 2111.03963. FedRS restricts the softmax by a client's own classes; this one is by
the tree, whoever the client is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.net import Net


@dataclass(frozen=True)
class SiblingSoftmax(Learner):
    """Cross-entropy over the classes under the true class's parent."""

    needs: ClassVar[tuple[str, ...]] = ("class_tree", "single_label")

    def build(self, model: Net, task: Task) -> None:
        parents = torch.from_numpy(np.asarray(task.parents))
        model.register_buffer("siblings", parents[:, None] == parents)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        others = ~site.model.part("siblings")[batch.y]
        return F.cross_entropy(site.model(batch.x).masked_fill(others, float("-inf")), batch.y)
