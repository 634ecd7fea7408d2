"""Whether strategy, learner, model, data and the scenario's keys fit together; each refusal names key and remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from torch import nn

from fedlt.config.declarations import misspelt
from fedlt.config.hook_names import misused
from fedlt.config.hook_results import given, name_of
from fedlt.config.own_lines import before_work
from fedlt.data.inputs.kind import Unserved
from fedlt.data.samplers import BY_GROUP
from fedlt.data.server_unlabelled import expect_some
from fedlt.errors import HookError, Problem, ScenarioError
from fedlt.learner import Learner, Stage, overrides
from fedlt.nn.flat import Flat
from fedlt.strategy import Strategy
from fedlt.wrapping import layers

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.data.task import Task
    from fedlt.nn.net import Net
    from fedlt.target import Target


def expect_words(strategy: Strategy, learner: Learner) -> None:
    """Refuse class variables with words that nobody knows, and methods that nobody calls but for a slip: what is
    misspelt would go unmet in silence.
    """
    parts = [("strategy", layer) for layer in layers(strategy)] + [("learner", learner)]
    problems = [Problem(kind, f"{type(part).__name__}: {text}") for kind, part in parts for text in misspelt(part)]
    problems += [Problem("learner", text) for text in misused(learner, Learner)]
    problems += [Problem("strategy", text) for layer in layers(strategy) for text in misused(layer, Strategy)]
    if problems:
        raise ScenarioError(problems)


def expect_stages(learner: Learner) -> None:
    """Refuse stages that are none, or do not fill the run."""
    name = name_of((learner, "stages"))
    with before_work("learner", name):
        found: object = learner.stages()
        stages = list(found) if isinstance(found, Iterable) else []
        if not stages or not all(isinstance(stage, Stage) for stage in stages):
            raise HookError(f"{name} gave {given(found)}; return a tuple of fedlt.Stage, as in (Stage(),)")
    shares = sum(stage.share for stage in stages)
    if abs(shares - 1) > 1e-9:
        raise ScenarioError(Problem("learner", f"the shares of the stages sum to {shares}, not to 1"))


def expect_meaning(strategy: Strategy, learner: Learner, name: str) -> None:
    """Refuse a learner that the strategy would ignore, or that has no meaning there.

    Args:
        strategy: says which parts of a learner it uses (`learner_parts`).
        learner: may refuse strategies, too (`obstacle`).
        name: of the learner, as the scenario has it.

    Raises:
        ScenarioError: under `learner`.
    """
    kind, used = type(strategy).__name__, strategy.learner_parts
    if "loss" not in used and name != "cross_entropy":
        reason = f"{kind} trains by losses of its own and would ignore {name}"
        raise ScenarioError(Problem("learner", f"{reason}; use learner=cross_entropy, or another strategy"))

    reason = learner.obstacle(strategy) or ""
    if "stages" not in used and any(stage.only != ("*",) or stage.rates for stage in learner.stages()):
        reason = "the strategy trains head and backbone in turns, and so would the learner's stages"
    elif "prediction" not in used and overrides(learner, Learner.predict):
        reason = "the strategy predicts by means of its own and would ignore the learner's"
    elif "sgd" in strategy.needs and any(stage.rates for stage in learner.stages()):
        reason = "the strategy divides by the summed rate of the steps, and the learner's stages have several rates"
    if reason:
        raise _meaningless(strategy, name, reason)


def expect_targets(scenario: Scenario, strategy: Strategy, learner: Learner, target: Target) -> None:
    """Refuse methods that read other targets than there are, by the words of `needs`.

    Args:
        target: what the targets are.
    """
    several = not target.one_label and not target.axes
    words = {
        "single_label": (target.one_label, "one class a sample", ""),
        "several_labels": (several, "several classes a sample (multilabel)", ", or data.targets=multilabel"),
        "step_labels": (target.axes == 1, "a class for each step (tags)", ", or data.targets=tags"),
    }

    parts: dict[str, tuple[str, Strategy | Learner]] = {
        "strategy": (scenario.strategy.name, strategy),
        "learner": (scenario.learner.name, learner),
    }
    problems = [
        Problem(key, f"{name} reads {what}, and the data set's targets are {target.name}; take another {key}{remedy}")
        for key, (name, part) in parts.items()
        for word, (met, what, remedy) in words.items()
        if word in part.needs and not met
    ]
    if problems:
        raise ScenarioError(problems)


def expect_samples(scenario: Scenario, federation: Federation, strategy: Strategy, learner: Learner) -> None:
    """Refuse methods that need samples at the server, or samples without labels, where there are none."""
    if "auxiliary_set" in strategy.needs and not len(federation.auxiliary):
        message = f"{scenario.strategy.name} needs labelled data at the server; say how many samples of each class"
        raise ScenarioError(Problem("data.auxiliary", message))
    expect_some(scenario, federation.server_unlabelled, strategy.needs)
    if "unlabelled" in learner.needs and not len(federation.unlabelled.values):
        message = f"{scenario.learner.name} needs samples without labels; set extra (further ones) or hidden"
        raise ScenarioError(Problem("data.unlabelled", message))


def expect_labels(scenario: Scenario, federation: Federation, learner: Learner) -> None:
    """Refuse stages that draw samples by class where noise has left some without any label.

    Raises:
        ScenarioError: under `data.noise`.
    """
    drawing = [stage.name for stage in learner.stages() if isinstance(stage.sampler, BY_GROUP)]
    if drawing and (message := federation.train_targets.select(federation.union()).bare_text()):
        message = f"{scenario.learner.name} draws samples by class, and {message}; lower the rate, or take learner"
        raise ScenarioError(Problem("data.noise.rate", f"{message}=cross_entropy or another that draws all alike"))


def expect_head(scenario: Scenario, strategy: Strategy, learner: Learner, model: Net) -> None:
    """Refuse a model without a head of its own, or whose head is not one linear layer, where a method needs that."""
    parts = (scenario.strategy.name, strategy.needs), (scenario.learner.name, learner.needs)
    for name, needs in parts:
        if model.no_head and not {"head", "linear_head"}.isdisjoint(needs):
            raise ScenarioError(
                Problem("model", f"{name} needs the model's head apart from its features: {model.no_head}")
            )
        if "linear_head" in needs and type(model.head) is not nn.Linear:
            reason = f"{name} works on a head of one linear layer, and the model's is a {type(model.head).__name__}"
            message = f"{scenario.model.name} does not fit: {reason}; move the other layers into the backbone"
            raise ScenarioError(Problem("model", message))


def expect_own_head(strategy: Strategy, head: nn.Module, name: str) -> None:
    """Refuse a learner with a head of its own where the strategy replaces the head, or computes with a linear one."""
    if "head" not in strategy.learner_parts and type(head) is not nn.Linear:
        reason = f"the strategy needs the head for itself, and the learner brings its own, {type(head).__name__}"
        raise _meaningless(strategy, name, reason)


def expect_training(scenario: Scenario, strategy: Strategy, learner: Learner, flat: Flat) -> None:
    """Refuse a model of which nothing would be trained, in some stage or at all, or nothing averaged."""
    name, model = scenario.strategy.name, scenario.model.title
    if not flat.trainable:
        raise ScenarioError(Problem("model.freeze", f"nothing of {model} is left to train; freeze less of it"))
    if not flat.num_trainable and "*" not in strategy.private:
        remedy = "freeze less of it, or take strategy=local, where nothing is shared"
        message = f"all that the clients of {name} would share is frozen, so there is nothing to average; {remedy}"
        raise ScenarioError(Problem("model.freeze", message))
    for stage in learner.stages():
        if not any(fnmatchcase(each, pattern) for each in flat.trainable for pattern in stage.only):
            message = f"the stage {stage.name!r} of {scenario.learner.name} trains {', '.join(stage.only)}, all frozen"
            raise ScenarioError(Problem("model.freeze", f"{message}; freeze less of it"))


def expect_batches(scenario: Scenario, strategy: Strategy, learner: Learner, flat: Flat, task: Task) -> None:
    """Refuse ways to form batches that change nothing, or that the methods do not allow."""
    if scenario.local.batches == "bucketed" and not task.inputs.padded:
        message = f"the inputs are {task.inputs}, all of one length, so that buckets of lengths would change nothing"
        raise ScenarioError(Problem("local.batches", f"{message}; take drawn"))

    if scenario.local.together > 1:
        from fedlt.training.vectorized import obstacle  # torch.func takes a while to import

        if reason := obstacle(strategy, learner, flat.model, flat):
            raise ScenarioError(Problem("local.together", f"clients cannot be trained at once: {reason}; or take 1"))


@contextmanager
def refused(key: str, name: str, before: str = "") -> Iterator[None]:
    """What a method's `build` refuses becomes an error of the scenario.

    Args:
        key: `strategy` or `learner`.
        name: of the method.
        before: what is said before its own words.

    Raises:
        ScenarioError: where it raises ValueError, or asks the inputs for what they have not.
    """
    try:
        yield
    except Unserved as error:
        message = f"{name} does not fit the data set: {error}; take another {key}"
        raise ScenarioError(Problem(key, message)) from error
    except ValueError as error:
        raise ScenarioError(Problem("model", f"{before}{error}")) from error


def _meaningless(strategy: Strategy, name: str, reason: str) -> ScenarioError:
    return ScenarioError(Problem("learner", f"{name} has no meaning inside {type(strategy).__name__}: {reason}"))
