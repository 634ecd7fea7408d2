"""Which statistics a run takes: those of its kind of targets, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedlt.errors import Problem, ScenarioError
from fedlt.measures.areas import Areas
from fedlt.measures.confidence import Confidence
from fedlt.measures.confusion import Confusions
from fedlt.measures.experts import ExpertsAsked
from fedlt.measures.features import FeatureMoments
from fedlt.measures.ordinal import OrdinalError
from fedlt.measures.own_rows import OwnRows
from fedlt.measures.precision import AveragePrecision
from fedlt.measures.ranking import Ranks
from fedlt.measures.sums import SummedMetric
from fedlt.measures.tokens import TokenConfusions
from fedlt.measures.tree import TreeErrors
from fedlt.statistic import Metric, Statistic
from fedlt.target import Target

Makers = dict[str, Callable[[], Statistic]]

SINGLE: Makers = {
    "confusion": Confusions,
    "confidence": Confidence,
    "experts": ExpertsAsked,
    "own_rows": OwnRows,
    "features": FeatureMoments,
}

OF_KIND: dict[str, Makers] = {
    "single": SINGLE,
    "ordinal": {**SINGLE, "ordinal": OrdinalError},
    "items": {"ranks": Ranks},
    "liked": {"areas": Areas},
    "multilabel": {"precision": AveragePrecision},
    "tags": {"confusion": TokenConfusions},
}
"""By the kind of targets: the statistics by name, in the order of their figures. The first one is the headline's."""


def statistics(target: Target, own: Sequence[Metric | Statistic] = (), tree: bool = False) -> dict[str, Statistic]:
    """The statistics of a run, empty, by their names in messages.

    Args:
        target: what the labels are; of a kind that is unknown here, those of the kind that it is derived from.
        own: the statistics that the scenario names.
        tree: whether the classes have parents.

    Raises:
        ScenarioError: where nothing at all would be measured.
    """
    kinds = (base.__name__.lower() for base in type(target).__mro__)
    found = {name: make() for name, make in OF_KIND.get(next(filter(OF_KIND.get, kinds), ""), {}).items()}
    if tree:
        found["tree"] = TreeErrors()
    last = {name: found.pop(name) for name in list(found) if found[name].reads_features}  # below the user's in tables
    mine = {f"own.{place}": SummedMetric(m) if isinstance(m, Metric) else m for place, m in enumerate(own)}

    if not found and not mine:
        remedy = "name at least one of your own, [./mine.py:Mine]"
        raise ScenarioError(Problem("evaluation.metrics", f"there is none for targets of kind {target.name}; {remedy}"))
    return found | mine | last
