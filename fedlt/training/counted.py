"""Models that are not trained by steps: word counts and clauses. They go with what finds them, and that with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from fedlt.errors import Problem, ScenarioError
from fedlt.nn.clauses import Clauses
from fedlt.nn.text.word_counts import WordCounts

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.learner import Learner
    from fedlt.nn.net import Net
    from fedlt.strategy import Strategy


@dataclass(frozen=True)
class Found:
    """A kind of such models.

    Attributes:
        table: their backbone.
        is_what: what they are.
        does: what methods for them do.
        learner, models: the remedies where one of the two does not fit.
    """

    table: type[nn.Module]
    is_what: str
    does: str
    learner: str
    models: str


KINDS = {
    "count_model": Found(WordCounts, "is counted", "counts", "learner=counting", "model=ss3 or model=naive_bayes"),
    "clause_model": Found(Clauses, "is made of clauses", "finds clauses", "learner=tsetlin", "model=clauses"),
}
"""By the need with which strategies and learners declare that they are for them."""


def is_counted(model: Net) -> bool:
    """Whether the model is a table that no step of gradients trains."""
    return isinstance(model.backbone, tuple(kind.table for kind in KINDS.values()))


def expect_counted(scenario: Scenario, strategy: Strategy, learner: Learner, model: Net) -> None:
    """Raise `ScenarioError` where a method is for one kind of model, and the model is of another."""
    named = (scenario.learner.name, learner), (scenario.strategy.name, strategy)
    own = next((need for need, kind in KINDS.items() if isinstance(model.backbone, kind.table)), None)
    if own is not None and own not in learner.needs:
        does = next((kind.does for need, kind in KINDS.items() if need in learner.needs), "trains")
        what = f"{scenario.model.name} {KINDS[own].is_what}, and {scenario.learner.name} {does}"
        raise ScenarioError(Problem("learner", f"{what}; take {KINDS[own].learner}"))

    is_what = "is trained" if own is None else KINDS[own].is_what
    for need, kind in KINDS.items():
        for name, part in named:
            if need in part.needs and need != own:
                message = f"{name} {kind.does}, and {scenario.model.name} {is_what}; take {kind.models}"
                raise ScenarioError(Problem("model", message))
