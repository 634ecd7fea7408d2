"""Binary losses of samples with several labels, in which what is right already counts less, negatives above all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TINY = 1e-8  # below which no probability of a negative is taken, so that its logarithm stays finite


def asymmetric_terms(logits: Tensor, y: Tensor, gamma_pos: float, gamma_neg: float | Tensor, shift: float) -> Tensor:
    """[B, C] the loss of each entry; 0 where the label is unknown (-1).

    -(1 - p)^gamma_pos log p of a positive, -q^gamma_neg log(1 - q) of a negative, with q = max(p - shift, 0), so that
    negatives below `shift` are as good as right. No gradient passes the powers. All gammas and the shift 0: binary
    cross-entropy.

    Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter, Zelnik-Manor: Asymmetric Loss for Multi-Label Classification.
    ICCV 2021.

    Args:
        logits: [B, C].
        y: [B, C] of 1, 0 and -1.
        gamma_pos: power of a positive's lack.
        gamma_neg: of a negative's excess; a number, or one for each class [C].
        shift: probability below which a negative does not count.
    """
    p = logits.sigmoid()
    right = (1 - p + shift).clamp(TINY, 1) if shift else 1 - p  # probability that is given to "no"
    told_no = right.log() if shift else F.logsigmoid(-logits)
    with torch.no_grad():
        easy_yes, easy_no = (1 - p) ** gamma_pos, (1 - right) ** gamma_neg
    return -torch.where(y == 1, easy_yes * F.logsigmoid(logits), easy_no * told_no) * (y >= 0)
