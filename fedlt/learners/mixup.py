"""Mixup: training on convex combinations of samples, with the same combinations of their labels.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018. One share per batch, as in the
official code. Under a long tail it calibrates, and by itself it costs the tail (Zhong and others, MiSLAS, CVPR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fedlt.blocks.mixing import mixup
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.net import Net


@dataclass(frozen=True)
class Mixup(Learner):
    """Soft-target cross-entropy of x' = s x + (1 - s) x_partner with s from Beta(alpha, alpha)."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)
    vectorizable: ClassVar[bool] = False

    alpha: Annotated[float, "> 0"] = 1.0  # 1: s uniform; small: nearly no mixing

    def build(self, model: Net, task: Task) -> None:
        task.inputs.require("mixing")

    def loss(self, site: Site, batch: Batch) -> Tensor:
        mixed = mixup(batch, site.rng, self.alpha)
        return mixed.cross_entropy(site.model(mixed.x))
