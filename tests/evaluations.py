"""Evaluations made of confusion matrices, and the matrices of a worker's report."""

from __future__ import annotations

from collections.abc import Mapping

from fedlt.data.task import Task
from fedlt.exchange import Report
from fedlt.measures.confusion import Confusions
from fedlt.measures.evaluation import Evaluation
from fedlt.measures.metrics import Confusion
from fedlt.statistic import NOBODY, Subject


def evaluation(
    round: int,
    generic: Mapping[str, Confusion] | None = None,
    personal: Mapping[str, Mapping[int, Confusion]] | None = None,
    masked: Mapping[str, Mapping[int, Confusion]] | None = None,
) -> Evaluation:
    """What a run measured that has these matrices: by variant, of personal models by client, too."""
    kinds = {
        "generic": {variant: {NOBODY: matrix} for variant, matrix in (generic or {}).items()},
        "personal": personal or {},
        "personal_masked": masked or {},
    }
    found = {}
    for kind, variants in kinds.items():
        for variant, matrices in variants.items():
            subject = Subject(kind, variant)
            classes = next(iter(matrices.values())).num_classes
            found["confusion", subject] = Confusions.of(Task("single", classes, (1,)), subject, matrices)
    return Evaluation(round, dict(found))


def matrices(report: Report, classes: int = 10) -> dict[tuple[str, int], Confusion]:
    """The confusion matrices of a report by `Subject.key` and client."""
    found = {}
    for (name, key), arrays in report.statistics.items():
        if name == "confusion":
            statistic = Confusions().empty(Task("single", classes, (1,)), Subject.parse(key))
            statistic.from_arrays(arrays)
            found.update({(key, client): matrix for client, matrix in statistic.by_client().items()})
    return found
