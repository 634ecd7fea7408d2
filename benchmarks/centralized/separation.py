"""How well a model's own uncertainty tells samples apart: right from wrong ones, or its classes from others' images.

Hendrycks, Gimpel: A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks. ICLR
2017: the area under the ROC curve, and the false positives where 95 % of the others are found.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlt.analyses import density
from fedlt.learner import Logits, Prediction, headline


def uncertainty(found: Logits) -> Tensor:
    """[B] what the model says of it, or one minus the largest probability of the headline where it says nothing."""
    if isinstance(found, Prediction) and found.uncertainty is not None:
        return found.uncertainty
    return 1 - headline(found).softmax(1).amax(1)


def auroc(low: Tensor, high: Tensor) -> float:
    """Probability that one of `high` [M] is above one of `low` [N]; ties count one half. NaN where one is empty."""
    outside = torch.cat([torch.zeros(len(low), dtype=torch.bool), torch.ones(len(high), dtype=torch.bool)])
    return density.auroc(torch.cat([low, high]).double().numpy(), outside.numpy())


def false_positives(low: Tensor, high: Tensor, found: float = 0.95) -> float:
    """Share of `low` above the largest threshold that at least `found` of `high` reach."""
    ordered = high.double().sort().values
    threshold = ordered[int((1 - found) * len(ordered))]
    return float((low.double() >= threshold).double().mean())
