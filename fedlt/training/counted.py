"""Count models, of which nothing is trained: they go with what counts, and what counts goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlt.errors import Problem, ScenarioError
from fedlt.nn.text.word_counts import WordCounts

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.learner import Learner
    from fedlt.nn.net import Net
    from fedlt.strategy import Strategy

NEED = "count_model"
"""How strategies and learners declare that they count."""


def is_counted(model: Net) -> bool:
    """Whether the model is a table of counts."""
    return isinstance(model.backbone, WordCounts)


def expect_counted(scenario: Scenario, strategy: Strategy, learner: Learner, model: Net) -> None:
    """Raise `ScenarioError` where a method counts and the model is trained, or the other way round."""
    if is_counted(model):
        if NEED not in learner.needs:
            message = f"{scenario.model.name} is counted, and {scenario.learner.name} trains; take learner=counting"
            raise ScenarioError(Problem("learner", message))
        return

    for name, part in ((scenario.learner.name, learner), (scenario.strategy.name, strategy)):
        if NEED in part.needs:
            message = f"{name} counts, and {scenario.model.name} is trained; take model=ss3 or model=naive_bayes"
            raise ScenarioError(Problem("model", message))
