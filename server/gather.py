"""Puts the workers' reports of one evaluation together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedlt.assembly import Assembly
from fedlt.evaluation import Evaluation
from fedlt.measures.collapse import Moments
from fedlt.measures.confidence import Confidence
from fedlt.metrics import Confusion, named
from server.failures import evaluated_in_part
from server.messages import Report


def gather(round: int, reports: Sequence[Report], parts: Assembly, tested: int) -> Evaluation:
    """The evaluation after a round. parts: with the generic model. tested: clients that have test rows."""
    confusions: dict[tuple[str, int], list[Confusion]] = {}
    for report in reports:
        for key, confusion in report.confusions.items():
            confusions.setdefault(key, []).append(confusion)
    dropped = evaluated_in_part(reports)
    found: dict[str, dict[str, dict[int, Confusion]]] = {"generic": {}, "personal": {}, "personal_masked": {}}
    for (model, client), several in confusions.items():
        kind, _, variant = model.partition(":")
        if client not in dropped:
            found[kind].setdefault(variant, {})[client] = Confusion.merge(several)
    generic = {variant: clients[-1] for variant, clients in found["generic"].items()}
    ordered = {
        kind: {variant: dict(sorted(clients.items())) for variant, clients in found[kind].items()}
        for kind in ("personal", "personal_masked")
    }
    moments = {chunk: part for report in reports for chunk, part in report.moments.items()}
    return Evaluation(
        round,
        generic,
        ordered["personal"],
        ordered["personal_masked"],
        tested - len(ordered["personal"].get("", {})),
        _confidences(reports),
        Moments.merge([moments[chunk] for chunk in sorted(moments)]) if moments else None,
        _head(parts),
    )


def _confidences(reports: Sequence[Report]) -> dict[str, Confidence]:
    parts: dict[str, list[Confidence]] = {}
    for report in reports:
        for key, part in report.confidences.items():
            parts.setdefault(key, []).append(part)
    return {named(*key.split(":", 1)): Confidence.merge(parts[key]) for key in sorted(parts)}


def _head(parts: Assembly) -> NDArray[np.float64] | None:
    """[C, D] rows of the generic model's head, where it is shared and has such rows."""
    weight = getattr(parts.model.head, "weight", None)
    expected = (parts.task.num_classes, parts.model.feature_dim)
    if weight is None or tuple(weight.shape) != expected or parts.flat.is_private("head.weight"):
        return None
    return weight.detach().cpu().double().numpy()  # type: ignore[no-any-return]
