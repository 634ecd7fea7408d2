"""Cross-entropy: the plain objective that every other learner is compared with.

Which one it is, the task's kind of targets says (`fedlt.target.Target.loss`): of the softmax where a sample has one
class, binary for each class where it may have several.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedlt.data.site import Batch, Site
from fedlt.learner import Learner


@dataclass(frozen=True)
class CrossEntropy(Learner):
    """The usual loss of the task's kind of targets (`fedlt.target.Target.loss`), as a mean over the batch."""

    def loss(self, site: Site, batch: Batch) -> Tensor:
        return site.task.target.loss(site.model(batch.x), batch.y)
