"""The contract checks of all parts of a scenario that are a user's own: what `fedlt check` runs.

Strategy and learner are played on six clients of digits, on a small network, whatever the scenario's data and model
are; the model gets samples of the scenario's shape, and the partition the scenario's own labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedlt.checks.suite import ConformanceError, Suite
from fedlt.config.component import Choice
from fedlt.errors import ScenarioError

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.task import Task


@dataclass(frozen=True)
class Outcome:
    """What became of one part's checks.

    Attributes:
        kind: `strategy`, `learner`, `model` or `partition`.
        title: the part's name.
        checks: the names of all checks, each with what is expected.
        problems: the check that failed, and what was found.
        remarks: what breaks none, and is worth a look.
        reason: why it could not be checked.
    """

    kind: str
    title: str
    checks: dict[str, str]
    problems: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    reason: str = ""

    def lines(self) -> Iterator[str]:
        """A short list for a reader: what holds, or what does not and the remedy."""
        name = f"{self.kind} {self.title}"
        if self.reason:
            yield f"{name}: its contract was not checked: {self.reason}"
        elif not self.problems:
            yield f"{name}: all {len(self.checks)} checks of its contract hold ({', '.join(self.checks)})"
            yield from (f"  remark: {remark}" for remark in self.remarks)
        else:
            yield f"{name} breaks its contract"
            for check, found in self.problems:
                yield f"  {check}: {found}"
                yield f"    expected: {self.checks[check]}"


def own_parts(scenario: Scenario, everything: bool = False) -> list[tuple[str, Choice]]:
    """The strategy, learner, model and partition that are a user's own, by kind.

    Args:
        everything: also built-in ones.
    """
    partition: Any = scenario.federation.partition
    chosen = {"strategy": scenario.strategy, "learner": scenario.learner, "model": scenario.model}
    found = [(kind, choice) for kind, choice in chosen.items() if everything or _is_own(choice)]
    if isinstance(partition, Choice) and (everything or _is_own(partition)):
        found.append(("partition", partition))
    return found


def _is_own(choice: Choice) -> bool:
    """Whether a component, or one that it holds, is a user's own."""
    return any(each.component.code_digest() for each in (choice, *(inner for _, inner in choice.nested())))


def examine(scenario: Scenario, task: Task, everything: bool = False) -> Iterator[Outcome]:
    """Check each part in turn; it takes a second or a few for each.

    Args:
        task: of the assembled run.
        everything: also the parts that are built in.
    """
    for kind, choice in own_parts(scenario, everything):
        options = {
            name: value.create() if isinstance(value, Choice) else value for name, value in choice.options.items()
        }
        yield _outcome(kind, choice, *_suite(kind, choice, options, scenario, task))


def _suite(
    kind: str, choice: Choice, options: dict[str, Any], scenario: Scenario, task: Task
) -> tuple[Suite, Callable[[], None]]:
    """The checks of the part's kind, and what runs them."""
    if kind == "strategy":
        from fedlt.checks.conformance import StrategySuite
        from fedlt.checks.rehearsal import expect_stage

        strategies = StrategySuite(choice.component, options)

        def played() -> None:
            expect_stage(choice)
            strategies.run()

        return strategies, played
    if kind == "learner":
        from fedlt.checks.learners import LearnerSuite

        learners = LearnerSuite(choice.component, options)
        return learners, learners.run
    if kind == "model":
        from fedlt.checks.models import ModelSuite

        models = ModelSuite(choice.component, options)
        return models, lambda: models.run(task)

    from fedlt.checks.partitions import PartitionSuite, Samples
    from fedlt.data.federation import given_to_partition

    partitions = PartitionSuite(choice.component, options)
    samples = Samples(*given_to_partition(scenario))
    return partitions, lambda: partitions.deal(choice.create(), samples, [scenario.federation.clients])


def _outcome(kind: str, choice: Choice, suite: Suite, run: Callable[[], None]) -> Outcome:
    """What became of the checks of one component.

    Args:
        run: the checks.
    """
    try:
        run()
        suite.look()
    except ConformanceError as error:
        return Outcome(kind, choice.title, suite.checks, tuple(error.problems))
    except ScenarioError as error:
        reason = "; ".join(problem.message for problem in error.problems)
        return Outcome(kind, choice.title, suite.checks, reason=reason)
    return Outcome(kind, choice.title, suite.checks, remarks=tuple(suite.remarks))
