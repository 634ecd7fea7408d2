"""FedUV: a client's predictions are kept as varied, and its features as spread, as those of one that has all classes.

Son, Kim, Chung, Huang, Liu: FedUV: Uniformity and Variance for Heterogeneous Federated Learning. CVPR 2024. Both
penalties are those of the official code, with its weights. Over a batch the probability of each class should deviate by
C^(-1/2), which is what C samples of C different classes give; and features should lie far apart, in units of their own
median squared distance. A batch of one sample has no penalty (in the code: no number).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedUV(Strategy):
    """CE + variance * mean over classes of max(0, C^(-1/2) - std of p_c) + uniformity * mean of e^(-|h - h'|^2 / m)."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    variance: Annotated[float, ">= 0"] = 2.5  # weight of the classes' deviations (the paper's lambda)
    uniformity: Annotated[float, ">= 0"] = 0.5  # weight of the features' closeness (its mu); both 0: FedAvg

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """The loss, with penalties for probabilities that vary too little over the batch, and for features that lie too
        near.
        """
        features = client.model.encode(batch.x)
        logits = client.model.head(features)
        value = F.cross_entropy(logits, batch.y)
        if len(batch) < 2:
            return value
        if self.variance:
            value = value + self.variance * lacking_deviation(logits.float())
        if self.uniformity:
            value = value + self.uniformity * closeness(features.float())
        return value


def lacking_deviation(logits: Tensor) -> Tensor:
    """What the classes' probabilities lack, in the mean, to the deviation of equal classes; logits are [B, C]."""
    deviations = logits.softmax(1).std(0)
    return (logits.shape[1] ** -0.5 - deviations).clamp(min=0).mean()


def closeness(features: Tensor) -> Tensor:
    """Mean over pairs of features [B, D] of e^(-d / m), d the squared distance and m its median among unequal ones."""
    first, second = torch.triu_indices(len(features), len(features), 1, device=features.device)
    squares = (features[first] - features[second]).square().sum(1)
    unequal = torch.where(squares > 0, squares, torch.nan)
    median = torch.nanmedian(unequal).nan_to_num(nan=1.0)  # none is unequal: all pairs are as close as can be
    return (-squares / median).exp().mean()
