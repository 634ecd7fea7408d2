"""What class counts say: the shared pieces of losses that know how rare a class is.

Counts are [C] samples per class, of one site or of all; a class without samples gets no weight and no margin.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-9  # samples of an absent class: its logit is shifted so far down that its softmax is 0, and stays finite


def log_prior(counts: Tensor) -> Tensor:
    """[C] log of the class frequencies n_c / n. Menon and others, ICLR 2021; Ren and others, NeurIPS 2020."""
    return (counts.clamp(min=FLOOR) / counts.sum()).log()


def log_counts(counts: Tensor, absent: float = 0.0) -> Tensor:
    """[C] log n_c, what the balanced softmax adds to the logits.

    Args:
        absent: what a class without samples counts as; with 0 its logit becomes minus infinity, and the loss leaves it
            out.
    """
    return torch.where(counts > 0, counts, absent).log()


def correction(counts: Tensor) -> Tensor:
    """[C] what a post-hoc adjustment subtracts: `log_prior`, and 0 for a class without samples, which the formula
    would always prefer.
    """
    return torch.where(counts > 0, log_prior(counts), 0.0)


def reversed_counts(counts: Tensor) -> Tensor:
    """[C] the same counts in reverse order of rank: the rarest class that is there has the largest, and so on.

    Among equal counts the order of the classes decides. An absent class stays absent.
    """
    values, order = counts.sort(stable=True)
    rank, absent = order.argsort(), (counts == 0).sum()  # absent classes have the first ranks
    mirrored = (absent + len(counts) - 1 - rank).clamp(max=len(counts) - 1)
    return torch.where(counts > 0, values[mirrored], 0)


def power_weights(counts: Tensor, power: float) -> Tensor:
    """[C] weights n_c^power, scaled to the mean 1 over the classes that are there."""
    there = counts > 0
    weights = torch.where(there, counts.clamp(min=1).double() ** power, 0.0)
    return (weights * there.sum() / weights.sum()).float()


def effective_weights(counts: Tensor, beta: float | Tensor) -> Tensor:
    """[C] weights (1 - beta) / (1 - beta^n_c), scaled to the mean 1 over the classes that are there.

    Cui, Jia, Lin, Song, Belongie: Class-Balanced Loss Based on Effective Number of Samples. CVPR 2019, eq. 4.

    Args:
        counts: [C] samples n_c.
        beta: one for all classes, or [C].
    """
    there = counts > 0
    weights = torch.where(there, (1 - beta) / (1 - beta ** counts.clamp(min=1).double()), 0.0)
    return (weights * there.sum() / weights.sum()).float()


def ldam_margins(counts: Tensor, largest: float) -> Tensor:
    """[C] margins proportional to n_c^(-1/4), the rarest class's being `largest`.

    Cao, Wei, Gaidon, Arechiga, Ma: Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss.
    NeurIPS 2019, eq. 13.
    """
    margins = torch.where(counts > 0, counts.clamp(min=1).double() ** -0.25, 0.0)
    return (largest * margins / margins.max()).float()


def with_margin(logits: Tensor, y: Tensor, margins: Tensor) -> Tensor:
    """[B, C] logits whose true class is lowered by its margin.

    Args:
        logits: [B, C].
        y: [B] true classes.
        margins: [C].
    """
    own = y[:, None] == torch.arange(logits.shape[1], device=y.device)  # one_hot looks at values, which vmap refuses
    return logits - margins[y][:, None] * own
