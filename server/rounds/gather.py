"""Puts the workers' reports of one evaluation together."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from fedlt.exchange import Report
from fedlt.measures.evaluation import Evaluation, merged
from fedlt.training.assembly import Assembly
from server.rounds.failures import evaluated_in_part


def gather(round: int, reports: Sequence[Report], parts: Assembly, tested: Collection[int]) -> Evaluation:
    """The evaluation after a round.

    Args:
        parts: with the generic model.
        tested: the clients that have test rows.
    """
    dropped = evaluated_in_part(reports)
    found = merged([report.statistics for report in reports], parts.statistics, parts.task)
    for statistic in found.values():
        statistic.forget(dropped)
    return Evaluation(round, found, skipped=len(dropped.intersection(tested)), head=_head(parts))


def _head(parts: Assembly) -> NDArray[np.float64] | None:
    """[C, D] rows of the generic model's head, where it is shared and has such rows."""
    weight = getattr(parts.model.head, "weight", None)
    expected = (parts.task.num_classes, parts.model.feature_dim)
    if weight is None or tuple(weight.shape) != expected or parts.flat.is_private("head.weight"):
        return None
    return weight.detach().cpu().double().numpy()  # type: ignore[no-any-return]
