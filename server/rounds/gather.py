"""Puts the workers' reports of one evaluation together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedlt.exchange import Report
from fedlt.measures.collapse import Moments
from fedlt.measures.confidence import Confidence
from fedlt.measures.evaluation import Evaluation, Own
from fedlt.measures.figures import VALIDATION
from fedlt.measures.metrics import Confusion, named
from fedlt.measures.sums import added
from fedlt.metric import Metric
from fedlt.training.assembly import Assembly
from server.rounds.failures import evaluated_in_part


def gather(round: int, reports: Sequence[Report], parts: Assembly, tested: int) -> Evaluation:
    """The evaluation after a round. parts: with the generic model. tested: clients that have test rows."""
    confusions: dict[tuple[str, int], list[Confusion]] = {}
    for report in reports:
        for key, confusion in report.confusions.items():
            confusions.setdefault(key, []).append(confusion)
    dropped = evaluated_in_part(reports)
    merged: dict[str, dict[str, dict[int, Confusion]]] = {}
    for (model, client), several in confusions.items():
        kind, _, variant = model.partition(":")
        if client not in dropped:
            merged.setdefault(kind, {}).setdefault(variant, {})[client] = Confusion.merge(several)

    confidences = _confidences(reports)
    own = _own(reports, parts.metrics, dropped)
    evaluation = _evaluation(round, "", merged, confidences, own)
    moments = {chunk: part for report in reports for chunk, part in report.moments.items()}
    return replace(
        evaluation,
        skipped=tested - len(evaluation.personal.get("", {})),
        features=Moments.merge([moments[chunk] for chunk in sorted(moments)]) if moments else None,
        head=_head(parts),
        validation=_evaluation(round, VALIDATION, merged, confidences, own)
        if any(map(_is_validation, merged))
        else None,
    )


def _evaluation(
    round: int,
    prefix: str,
    merged: Mapping[str, Mapping[str, dict[int, Confusion]]],
    confidences: Mapping[str, Confidence],
    own: Sequence[Own],
) -> Evaluation:
    """What was found on one set of samples, whose models' names begin with the prefix."""

    def by_client(kind: str) -> dict[str, dict[int, Confusion]]:
        return {variant: dict(sorted(found.items())) for variant, found in merged.get(prefix + kind, {}).items()}

    generic = {variant: found[-1] for variant, found in by_client("generic").items()}
    inside = {
        model.removeprefix(prefix): found
        for model, found in confidences.items()
        if _is_validation(model) == bool(prefix)
    }
    mine = [
        (metric, {m.removeprefix(prefix): sums for m, sums in models.items() if _is_validation(m) == bool(prefix)})
        for metric, models in own
    ]
    personal = by_client("personal"), by_client("personal_masked")
    return Evaluation(round, generic, *personal, confidence=inside, own=tuple(mine))


def _own(reports: Sequence[Report], metrics: Sequence[Metric], dropped: Collection[int]) -> list[Own]:
    """What each of the user's metrics has summed, by the model's name in metrics and by client."""
    found: list[Own] = [(metric, {}) for metric in metrics]
    pieces = (piece for report in reports for piece in report.own.items())
    for (place, model, client), sums in added(pieces).items():
        if client not in dropped:
            found[place][1].setdefault(named(*model.split(":", 1)), {})[client] = sums
    return found


def _is_validation(model: str) -> bool:
    return model.startswith(VALIDATION)


def _confidences(reports: Sequence[Report]) -> dict[str, Confidence]:
    """Merged confidences by the model's name in metrics."""
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
