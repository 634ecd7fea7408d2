"""Cross-entropy: the plain objective that every other learner is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch, Site
from fedlt.learner import Learner


@dataclass(frozen=True)
class CrossEntropy(Learner):
    """Mean negative log-likelihood of the batch."""

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return F.cross_entropy(site.model(batch.x), batch.y)
