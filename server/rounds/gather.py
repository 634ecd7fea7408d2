"""Whose models an evaluation tests, and what the workers' reports of it come to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.exchange import Report
from fedlt.measures.evaluation import Evaluation, merged
from fedlt.process import seeding
from fedlt.training.assembly import Assembly
from server.rounds.failures import evaluated_in_part

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario


def evaluated_clients(scenario: Scenario, parts: Assembly, clients: int) -> list[int]:
    """Clients whose personal models are tested: all that do not attack, or a fixed draw of them.

    Args:
        clients: of the federation.
    """
    untested = parts.chain.untested
    everyone = [client for client in range(clients) if client not in untested]
    limit = scenario.evaluation.clients
    if limit is None or limit >= len(everyone):
        return everyone
    rng = seeding.generator(scenario.seed, "evaluated")
    return sorted(rng.choice(everyone, limit, replace=False).tolist())


def gather(round: int, reports: Sequence[Report], parts: Assembly, tested: Collection[int]) -> Evaluation:
    """The evaluation after a round.

    Args:
        parts: with the generic model.
        tested: the clients that have test rows.
    """
    dropped = evaluated_in_part(reports)
    statistics = merged([report.statistics for report in reports], parts.statistics, parts.task)
    for statistic in statistics.values():
        statistic.forget(dropped)
    return Evaluation(round, statistics, skipped=len(dropped.intersection(tested)), head=_head(parts))


def _head(parts: Assembly) -> NDArray[np.float64] | None:
    """[C, D] rows of the generic model's head, where it is shared and has such rows."""
    weight = getattr(parts.model.head, "weight", None)
    expected = (parts.task.num_classes, parts.model.feature_dim)
    if weight is None or tuple(weight.shape) != expected or parts.flat.is_private("head.weight"):
        return None
    return weight.detach().cpu().double().numpy()  # type: ignore[no-any-return]
