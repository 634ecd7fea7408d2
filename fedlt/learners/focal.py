"""Focal loss: samples that are already right count less.

Lin, Goyal, Girshick, He, Dollar: Focal Loss for Dense Object Detection. ICCV 2017, equation 4, for softmax outputs as
is usual in long-tailed classification: -(1 - p_y)^gamma log p_y. Without the paper's class weight alpha, which
`class_balanced` has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch, Site
from fedlt.learner import Learner


@dataclass(frozen=True)
class Focal(Learner):
    """Mean of (1 - p_y)^gamma times the cross-entropy."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)

    gamma: Annotated[float, ">= 0"] = 1.0  # 0 is cross-entropy

    def loss(self, site: Site, batch: Batch) -> Tensor:
        nll = F.cross_entropy(site.model(batch.x), batch.y, reduction="none")
        return ((1 - (-nll).exp()) ** self.gamma * nll).mean()
