"""Early decisions: how soon a sequence was found to be positive, and what being late or wrong costs (ERDE).

Losada, Crestani: A Test Collection for Research on Depression and Language Use. CLEF 2016. A sequence is read item by
item until it is called positive, or to its end, which calls it negative.
"""

from __future__ import annotations

import torch
from torch import Tensor


def first_alarm(scores: Tensor, lengths: Tensor, positive: int = 1) -> tuple[Tensor, Tensor]:
    """Whether each sequence is called positive [B], and how many items were read for it [B].

    A sequence is called positive as soon as that class has a larger score than every other.

    Args:
        scores: [B, L, C] after each item.
        lengths: [B] items of each, at least 1.
        positive: the class.
    """
    steps = torch.arange(scores.shape[1], device=scores.device)
    others = torch.cat([scores[..., :positive], scores[..., positive + 1 :]], dim=-1).amax(-1)
    ahead = (scores[..., positive] > others) & (steps < lengths[:, None])
    called = ahead.any(1)
    return called, torch.where(called, ahead.int().argmax(1) + 1, lengths)


def erde(called: Tensor, positive: Tensor, read: Tensor, late: float, false_alarm: float | None = None) -> float:
    """Early risk detection error, the mean over sequences; 0 is best.

    A false alarm costs `false_alarm`, a miss 1, a true negative nothing, and an alarm that is right after k items
    1 - 1 / (1 + exp(k - late)).

    Args:
        called: [B] bool.
        positive: [B] bool, the truth.
        read: [B] k.
        late: o, the number of items at which a right alarm costs a half.
        false_alarm: the share of positives unless given, which makes calling everything cost little.
    """
    price = float(positive.double().mean()) if false_alarm is None else false_alarm
    delay = torch.sigmoid(read.double() - late)
    right, wrong = called & positive, called & ~positive
    return float((delay * right + price * wrong + 1.0 * (positive & ~called)).mean())
