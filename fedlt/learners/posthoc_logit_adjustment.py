"""Post-hoc logit adjustment: plain training, and the class prior is taken off the logits when predicting.

Menon, Jayasumana, Rawat, Jain, Veit, Kumar: Long-Tail Learning via Logit Adjustment. ICLR 2021, equation 9: the
cheapest repair of a model's bias towards the head, and the yardstick of every other. The prior is a buffer of the
model: each site writes that of its own data, and a server's weighted mean of them is the prior of the round's cohort.
The logit of a class without samples is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fedlt.blocks.priors import correction
from fedlt.data.site import Site
from fedlt.data.task import Task
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net


@dataclass(frozen=True)
class PosthocLogitAdjustment(CrossEntropy):
    """Predicts by z - tau log(n_c / n); the variant `plain` is without."""

    needs: ClassVar[tuple[str, ...]] = ("class_counts", "single_label")

    tau: Annotated[float, ">= 0"] = 1.0  # strength of the adjustment; 0 is plain cross-entropy

    def build(self, model: Net, task: Task) -> None:
        model.register_buffer("class_prior", torch.full((task.num_classes,), 1 / task.num_classes))

    def begin(self, site: Site) -> None:
        site.model.part("class_prior").copy_(site.class_counts / site.num_samples)

    def predict(self, model: Net, x: Tensor) -> dict[str, Tensor]:
        logits, prior = model(x), model.part("class_prior")
        return {"adjusted": logits - self.tau * correction(prior), "plain": logits}
