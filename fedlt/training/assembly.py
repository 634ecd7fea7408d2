"""Builds what server and workers must have alike: strategy, learner, model and the model's flat layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import torch
from torch import nn

from fedlt.cohorts.chosen import cohort_size, selection_of
from fedlt.cohorts.selection import Selection
from fedlt.cohorts.timed import Timed, timed
from fedlt.cohorts.uniform import Uniform
from fedlt.config.declarations import misspelt
from fedlt.config.hook_names import misused
from fedlt.config.hook_results import given, name_of
from fedlt.config.own_lines import before_work
from fedlt.data.class_tree import expect_tree
from fedlt.data.class_vectors import class_vectors_of, expect_width
from fedlt.data.generated import generator_of
from fedlt.data.inputs.kind import Unserved
from fedlt.data.server_unlabelled import expect_some
from fedlt.data.task import Task
from fedlt.errors import HookError, Problem, ScenarioError
from fedlt.learner import Learner, Stage, overrides
from fedlt.links.chain import Chain
from fedlt.links.link import Setting
from fedlt.measures.defaults import statistics
from fedlt.nn.flat import Flat
from fedlt.nn.model import Model
from fedlt.nn.wrapped import WrappedModule, described
from fedlt.process import seeding
from fedlt.process.wording import counted
from fedlt.statistic import Statistic
from fedlt.strategy import Strategy
from fedlt.training import trial
from fedlt.training.counted import expect_counted, is_counted
from fedlt.training.initial import Initial
from fedlt.training.local_keys import expect_optimizer, expect_schedule, unread
from fedlt.training.own_statistics import try_own
from fedlt.wrapping import layers

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.nn.net import Net
    from fedlt.tokenizers.generator import TextGenerator


@dataclass(frozen=True)
class Assembly:
    """The parts of a run that are code. Equal scenarios give equal assemblies, bit for bit, in every process."""

    strategy: Strategy
    learner: Learner
    model: Net
    flat: Flat
    task: Task
    chain: Chain  # what updates pass on their way
    selection: Selection  # who trains in a round
    timed: Timed | None  # how quick the clients' devices are
    statistics: dict[str, Statistic] = field(default_factory=dict)  # what is measured, by name; none has seen anything
    found: tuple[str, ...] = ()  # lines about a model that was taken apart
    initial: Initial | None = None  # the weights that it begins with, where they are not random ones
    generator: TextGenerator | None = None  # writes texts for classes of which a client has few

    def remarks(self) -> list[str]:
        """Lines about inputs, model and links that `fedlt check`, and a run at its start, say."""
        begun = [self.initial.text()] if self.initial is not None else []
        return [*self.task.inputs.remarks(), *self._remarks_on_model(), *begun, *self.chain.remarks()]

    def _remarks_on_model(self) -> list[str]:
        given = self.flat.given_frozen
        if not given:
            return [*self.found]
        count = sum(self.flat.tensors[name].numel() for name in given)
        names = ", ".join(given[:3]) + (f" and {len(given) - 3} more" if len(given) > 3 else "")
        frozen = "frozen (model.freeze, or requires_grad=False as it arrives), neither trained nor sent"
        return [*self.found, f"{frozen}: {names}; {counted(count, 'number')}"]


def assemble(scenario: Scenario, federation: Federation, device: torch.device) -> Assembly:
    """Build model and layout from the scenario's seed; raises `ScenarioError` where the parts do not fit."""
    strategy, learner, recipe = (c.create() for c in (scenario.strategy, scenario.learner, scenario.model))
    _expect_words(strategy, learner)
    _expect_stages(learner)
    _expect_meaning(strategy, learner, scenario.learner.name)
    rounds = scenario.federation.rounds
    counts = federation.seen_counts() if "class_prior" in (*strategy.needs, *learner.needs) else None
    target, inputs = federation.train_targets.kind, federation.inputs.for_recipe(recipe)
    if not target.one_label:
        _expect_many_labels(scenario, strategy, learner, target.name)
    if target.axes != 1 and "step_labels" in learner.needs:
        message = f"{scenario.learner.name} reads a class for each step (tags), and the targets are {target.name}"
        raise ScenarioError(Problem("learner", f"{message}; take another learner, or data.targets=tags"))
    vectors = class_vectors_of(recipe, federation.num_classes)
    told = vectors if "class_vectors" in (*strategy.needs, *learner.needs) else None
    facts = target.name, federation.num_classes, inputs.shape, counts, rounds, target
    expect_tree(federation.parents, scenario.learner.name, learner.needs)
    task = Task(*facts, inputs=inputs, class_vectors=told, parents=federation.parents)
    if "auxiliary_set" in strategy.needs and not len(federation.auxiliary):
        message = f"{scenario.strategy.name} needs labelled data at the server; say how many samples of each class"
        raise ScenarioError(Problem("data.auxiliary", message))
    expect_some(scenario, federation.server_unlabelled, strategy.needs)
    if "unlabelled" in learner.needs and not len(federation.unlabelled.values):
        message = f"{scenario.learner.name} needs samples without labels; set extra (further ones) or hidden"
        raise ScenarioError(Problem("data.unlabelled", message))
    if reason := inputs.obstacle(scenario.local.augment):
        raise ScenarioError(Problem("local.augment", reason))
    generator = generator_of(scenario.local, task)
    initial = Initial.of(scenario)
    with torch.random.fork_rng(devices=[]):
        seeding.torch_generators(device, scenario.seed, "model")
        model = trial.build(recipe, task, scenario.model.name)
        expect_width(vectors, model.feature_dim, scenario.model.title)
        _expect_head(scenario, strategy, learner, model)
        expect_counted(scenario, strategy, learner, model)
        remarks = [described(model, recipe.name)] if isinstance(recipe, WrappedModule) else []
        remarks += recipe.adapter.remarks() if isinstance(recipe, Model) and recipe.adapter else []
        arrived = model.head
        try:
            with before_work("learner", name_of((learner, "build")), but=ValueError):
                learner.build(model, task)
        except Unserved as error:
            raise _unserved("learner", scenario.learner.name, error) from error
        except ValueError as error:
            raise ScenarioError(Problem("model", str(error))) from error
        if initial is not None:
            initial.give(model)
        if model.head is not arrived:
            _expect_own_head(strategy, model.head, scenario.learner.name)
        try:
            with before_work("strategy", name_of((strategy, "build")), but=ValueError):
                if reason := strategy.obstacle(model, task):
                    raise ValueError(reason)
                strategy.build(model, task)
            if initial is not None:
                initial.give(model)
                initial.settle(model)
            flat = Flat(model.to(device), strategy.private, strategy.frozen, inputs.memory_format)
        except Unserved as error:
            raise _unserved("strategy", scenario.strategy.name, error) from error
        except ValueError as error:
            pair = f"{scenario.strategy.name} does not fit {scenario.model.name}"
            raise ScenarioError(Problem("model", f"{pair}; change one of the two: {error}")) from error
    if not is_counted(model):
        _expect_training(scenario, strategy, learner, flat)
    expect_optimizer(scenario, (*strategy.needs, *learner.needs))
    expect_schedule(scenario)
    if scenario.evaluation.patience is not None and overrides(strategy, Strategy.conclude):
        message = f"{scenario.strategy.name} ends with an exchange after the last round, whose models are to be kept"
        raise ScenarioError(Problem("evaluation.patience", f"{message}; remove it"))
    sizes = federation.clients.sizes
    cohort = cohort_size(scenario, len(sizes))
    devices = timed(scenario, strategy, sizes, len(flat.shared))
    selection = selection_of(scenario, strategy, len(sizes), devices.asked(cohort) if devices else cohort)
    uniform = isinstance(selection, Uniform) and not (devices and devices.clock.closes)
    setting = Setting(scenario.seed, sizes, cohort, strategy, learner, task, len(flat.shared), flat.num_trainable)
    chain = Chain.of(scenario, replace(setting, uniform=uniform))
    own = [choice.create() for choice in scenario.evaluation.metrics]
    try_own(own, task, federation)
    remarks += unread(scenario)
    if vectors is not told:
        remarks.append("model.class_vectors is not read: neither strategy nor learner declares the need of it")
    measured, said = statistics(target, own, federation.parents is not None), tuple(remarks)
    begun = said, initial, generator
    parts = Assembly(strategy, learner, model, flat, task, chain, selection, devices, measured, *begun)
    if scenario.local.batches == "bucketed" and not task.inputs.padded:
        message = f"the inputs are {task.inputs}, all of one length, so that buckets of lengths would change nothing"
        raise ScenarioError(Problem("local.batches", f"{message}; take drawn"))
    if scenario.local.together > 1:
        from fedlt.training.vectorized import obstacle

        reason = obstacle(strategy, learner, model, flat)
        if reason:
            raise ScenarioError(Problem("local.together", f"clients cannot be trained at once: {reason}; or take 1"))
    return parts


def _expect_training(scenario: Scenario, strategy: Strategy, learner: Learner, flat: Flat) -> None:
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


def try_own_model(scenario: Scenario, federation: Federation, parts: Assembly) -> None:
    """Pass samples through a model of the user's own, before any work.

    Raises:
        ScenarioError: where that fails.
    """
    if not scenario.model.component.code_digest():
        return
    sizes = federation.clients.sizes.tolist()
    sites = [sum(sizes)] if parts.strategy.scope == "centralized" else sizes
    with torch.random.fork_rng(devices=[]):
        model = trial.build(scenario.model.create(), parts.task, scenario.model.name)
        trial.expect_passes(model, parts.task, scenario.model.name, scenario.local, sites)


def _expect_words(strategy: Strategy, learner: Learner) -> None:
    """Refuse class variables with words that nobody knows, and methods that nobody calls but for a slip: what is
    misspelt would go unmet in silence."""
    parts = [("strategy", layer) for layer in layers(strategy)] + [("learner", learner)]
    problems = [Problem(kind, f"{type(part).__name__}: {text}") for kind, part in parts for text in misspelt(part)]
    problems += [Problem("learner", text) for text in misused(learner, Learner)]
    problems += [Problem("strategy", text) for layer in layers(strategy) for text in misused(layer, Strategy)]
    if problems:
        raise ScenarioError(problems)


def _expect_stages(learner: Learner) -> None:
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


def _expect_meaning(strategy: Strategy, learner: Learner, name: str) -> None:
    """Refuse a learner that the strategy would ignore, or that has no meaning there."""
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


def _expect_many_labels(scenario: Scenario, strategy: Strategy, learner: Learner, kind: str) -> None:
    """Refuse what reads one class a sample where a sample may have several.

    Args:
        kind: name of what the targets are.
    """
    parts: dict[str, tuple[str, Strategy | Learner]] = {
        "strategy": (scenario.strategy.name, strategy),
        "learner": (scenario.learner.name, learner),
    }
    problems = [
        Problem(key, f"{name} reads one class a sample, and the data set's targets are {kind}; take another {key}")
        for key, (name, part) in parts.items()
        if "single_label" in part.needs
    ]
    if problems:
        raise ScenarioError(problems)


def _expect_head(scenario: Scenario, strategy: Strategy, learner: Learner, model: Net) -> None:
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


def _expect_own_head(strategy: Strategy, head: nn.Module, name: str) -> None:
    """Refuse a learner with a head of its own where the strategy replaces the head, or computes with a linear one."""
    if "head" not in strategy.learner_parts and type(head) is not nn.Linear:
        reason = f"the strategy needs the head for itself, and the learner brings its own, {type(head).__name__}"
        raise _meaningless(strategy, name, reason)


def _unserved(key: str, name: str, error: Unserved) -> ScenarioError:
    """A method that asks the inputs for what they have not.

    Args:
        key: `strategy` or `learner`.
    """
    return ScenarioError(Problem(key, f"{name} does not fit the data set: {error}; take another {key}"))


def _meaningless(strategy: Strategy, name: str, reason: str) -> ScenarioError:
    return ScenarioError(Problem("learner", f"{name} has no meaning inside {type(strategy).__name__}: {reason}"))


def pick_device(name: str) -> torch.device:
    """The device that `resources.device` names; `auto` takes a GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ScenarioError(Problem("resources.device", "cuda was asked for and no GPU is visible; use auto or cpu"))
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
