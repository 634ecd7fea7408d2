"""Early stopping on validation data: ends a run that no longer improves, and keeps the models of its best evaluation.

An evaluation is heard of while the next round has been trained, before anything of that round is taken over. The
progress is then still that of the evaluated round, and a checkpoint of it is what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedlt.callback import Callback, RunState
from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError
from fedlt.measures.evaluation import Evaluation, validation_figures
from fedlt.measures.headlines import headline
from fedlt.process.wording import counted
from fedlt.statistic import VALIDATION

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from server.state.keeper import Keeper


class Patience(Callback):
    """Follows one validation figure over the evaluations of a run, and lets `keeper` keep the models of the best one.

    It hears of an evaluation before the record does: what it keeps goes on by being told of that evaluation again.

    It is kept in every checkpoint, so that a run that goes on stops where it would have stopped.

    Attributes:
        state: `round` and `value` of the best evaluation so far, and `waited`, the evaluations since; empty before the
            first.
    """

    def __init__(self, scenario: Scenario, federation: Federation, keeper: Keeper) -> None:
        self.limit, self.figure = scenario.evaluation.patience, scenario.evaluation.watch
        self.federation, self.keeper = federation, keeper
        self.state: dict[str, Any] = {}

    @property
    def active(self) -> bool:
        """Whether the scenario asks for early stopping."""
        return self.limit is not None

    @property
    def exhausted(self) -> bool:
        """Whether as many evaluations as the limit allows have been no better than the best one."""
        return self.limit is not None and self.state.get("waited", 0) >= self.limit

    def on_start(self, run: RunState) -> None:
        self.state = self.keeper.writer.summary.get("early_stopping", {})

    def on_evaluation(self, run: RunState) -> None:
        """Keep the best models, and stop the run where patience is exhausted."""
        assert run.evaluation is not None
        if self.hear(run.evaluation):
            self.keeper.keep()
        self.keeper.writer.summary["early_stopping"] = self.state
        if self.exhausted:
            run.stop("patience")

    def hear(self, evaluation: Evaluation) -> bool:
        """Take the next evaluation; whether it is the best so far. A figure that is not defined never is.

        Raises:
            ScenarioError: where the figure is unknown.
        """
        value = self._value(validation_figures(evaluation, self.federation))
        best = self.state.get("value", math.nan)
        if not self.state or value > best or (math.isnan(best) and not math.isnan(value)):
            self.state = {"figure": self.figure, "round": evaluation.round, "value": value, "waited": 0}
            return True
        self.state = {**self.state, "waited": self.state["waited"] + 1}
        return False

    def _value(self, figures: dict[str, float]) -> float:
        """The figure that is watched; at first it is chosen, unless the scenario names it."""
        if self.figure is None:
            self.figure = watched(figures)
        if self.figure not in figures:
            message = f"no figure {self.figure!r} in this run{suggest(self.figure, figures)}"
            raise ScenarioError(Problem("evaluation.watch", message))
        return figures[self.figure]

    def text(self, rounds: int) -> str:
        """What became of the run and its so many rounds, as a line for its reader."""
        kept = self.state
        best = f"{kept['figure']} {100 * kept['value']:.1f} after round {kept['round']}"
        if not self.exhausted:
            return f"the models of round {kept['round']} are kept: {best} is the best of {counted(rounds, 'round')}"
        assert self.limit is not None
        evaluations = counted(self.limit, "evaluation")
        return f"stopped: no better {kept['figure']} for {evaluations}; kept: {best}"


def watched(figures: Mapping[str, float]) -> str:
    """What is followed unless the scenario names a figure: the headline of the generic model, or of personal ones."""
    main = headline(figures)
    names = [f"{VALIDATION}{kind}/{main}" for kind in ("generic", "personal")]
    return next((name for name in names if name in figures), names[0])
