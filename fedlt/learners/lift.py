"""LIFT: a frozen backbone, few new parameters in it, a cosine head that starts at the classes' vectors, the prior.

Shi, Wei, Zhou, Shao, Han, Li: Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts. ICML 2024. Training
all weights of a pretrained model spoils what it knows of tail classes; a light change under logit adjustment keeps it.
The adapter is `model.adapter` where there is one, else one on the features (the paper's AdaptFormer sits in every
block, with a norm and a scale of its own), its width that of the paper's rule for one place. The head starts at
`model.class_vectors`, else each class at the mean of its features at the first sites that hold it (the paper: of all
training samples). Test-time ensembles are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Site
from fedlt.data.task import Task
from fedlt.learners.logit_adjustment import LogitAdjustment
from fedlt.nn.adapters.adapter import adapt
from fedlt.nn.adapters.bottleneck import Bottleneck
from fedlt.nn.cosine import CosineHead
from fedlt.nn.net import Net


class StartedHead(CosineHead):
    """A cosine head, of which a row of zeros stands for a class that no site has started: its cosine counts as -1."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.where(self.weight.any(1), super().forward(features), -self.scale)


@dataclass(frozen=True)
class LIFT(LogitAdjustment):
    """Cross-entropy of scale cos(h, w_c) + tau log(n_c / n); trained are the adapter and w."""

    needs: ClassVar[tuple[str, ...]] = ("class_vectors", "prototypes", "head", "single_label")

    scale: Annotated[float, "> 0"] = 25.0  # of the cosines
    width: Annotated[int, ">= 1"] | None = None  # of the adapter, where the model brings none; null: the paper's rule

    def build(self, model: Net, task: Task) -> None:
        trained = [parameter.requires_grad for parameter in model.backbone.parameters()]
        if all(trained) or not any(trained):  # no adapter is there; all is frozen but the one that is put in
            adapt(model, None, Bottleneck(self.width or width(task.num_classes, 1)))
        model.head = StartedHead(model.feature_dim, task.num_classes, self.scale)
        with torch.no_grad():
            given = task.class_vectors
            model.head.weight.copy_(torch.zeros(()) if given is None else F.normalize(given))

    def begin(self, site: Site) -> None:
        """Rows of zeros become the means of this site's features, and all others unit vectors, as before the mean over
        sites of which some lack the class.
        """
        weight = site.model.part("head.weight")
        unit = F.normalize(weight)
        new = ~weight.any(1) & (site.class_counts > 0)
        if bool(new.any()):
            sums = torch.zeros_like(weight).index_add_(0, site.data.y, site.features())
            unit = torch.where(new[:, None], F.normalize(sums), unit)
        weight.copy_(unit)


def width(classes: int, places: int) -> int:
    """The paper's width of an adapter in each of so many places: the largest power of two that does not give all of
    them together more than half as many numbers a feature as there are classes; at least 1.
    """
    return int(2 ** max(0, math.floor(math.log2(classes / (2 * places)))))
