"""What the keys of `local` demand of each other and of the method, beyond the type of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedlt.config.schedules import LENGTH, TORCH
from fedlt.errors import Problem, ScenarioError
from fedlt.process.wording import counted
from fedlt.training.schedules import factors

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario


def expect_optimizer(scenario: Scenario, needs: tuple[str, ...]) -> None:
    """Refuse another optimiser where the method divides by the steps of sgd.

    Args:
        needs: of strategy and learner.

    Raises:
        ScenarioError: where the two do not fit.
    """
    chosen = scenario.local.optimizer.name
    if "sgd" in needs and chosen != "sgd":
        message = (
            f"{scenario.strategy.name} divides by the rates of sgd's steps, which {chosen} does not follow; take sgd"
        )
        raise ScenarioError(Problem("local.optimizer", message))


def expect_schedule(scenario: Scenario) -> None:
    """Refuse a scheduler that cannot last for the run.

    Raises:
        ScenarioError: where PyTorch's scheduler has no rates for the rounds of the run.
    """
    chosen, rounds = scenario.local.schedule, scenario.federation.rounds
    if chosen.name not in TORCH:
        return
    length = rounds if chosen.options.get(LENGTH.get(chosen.name, ""), 0) is None else None
    try:
        factors(chosen, scenario.local.lr, rounds, length)
    except (ArithmeticError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        message = f"{chosen.name} with these keys has no rates for {counted(rounds, 'round')}: {reason}"
        raise ScenarioError(Problem("local.schedule", message)) from error


def unread(scenario: Scenario) -> Iterator[str]:
    """Lines about keys of `local` that another one takes the place of, or that a model without training has none of."""
    local = scenario.local
    if "count_model" in scenario.learner.component.needs:
        yield f"{scenario.model.name} is counted in one pass over the samples; no key of local is read"
        return
    if "clause_model" in scenario.learner.component.needs:
        yield f"{scenario.learner.name} makes local.epochs passes over the samples; no other key of local is read"
        return
    if local.optimizer.name != "sgd" and (local.momentum or local.nesterov):
        yield f"local.momentum and local.nesterov are those of sgd; {local.optimizer.name} does not read them"
    if local.steps is not None:
        yield f"every client takes {counted(local.steps, 'step')} a round (local.steps); local.epochs is not read"
