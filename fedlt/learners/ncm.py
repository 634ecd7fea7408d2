"""Nearest class mean: plain training, and a sample belongs to the class whose mean feature is nearest in angle.

Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: Decoupling Representation and Classifier for Long-Tailed
Recognition. ICLR 2020, section 4 (after Mensink and others, PAMI 2013), cosine form. Sums of unit features by class,
divided by the site's samples, are buffers of the model: a server's mean weighted by samples then gives the class
means of all samples of the cohort, each under the features of its client's trained model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Site
from fedlt.data.task import Task
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net


@dataclass(frozen=True)
class NCM(CrossEntropy):
    """Predicts by the cosine with each class's mean of unit features; the variant `plain` is the trained head."""

    needs: ClassVar[tuple[str, ...]] = ("head", "prototypes", "single_label")

    def build(self, model: Net, task: Task) -> None:
        model.register_buffer("class_sums", torch.zeros(task.num_classes, model.feature_dim))

    def finish(self, site: Site) -> None:
        unit = F.normalize(site.features())
        sums = torch.zeros_like(site.model.part("class_sums")).index_add_(0, site.data.y, unit)
        site.model.part("class_sums").copy_(sums / site.num_samples)

    def predict(self, model: Net, x: Tensor) -> dict[str, Tensor]:
        features = model.encode(x)
        means = F.normalize(model.part("class_sums"))  # the direction of a sum is that of the mean
        return {"nearest": F.linear(F.normalize(features), means), "plain": model.head(features)}
