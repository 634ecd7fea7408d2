"""Builds what server and workers must have alike: strategy, learner, model and the model's flat layout."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fedlt.cohorts.chosen import cohort_size, selection_of
from fedlt.cohorts.selection import Selection
from fedlt.cohorts.timed import Timed, timed
from fedlt.cohorts.uniform import Uniform
from fedlt.config.hook_results import name_of
from fedlt.config.own_lines import before_work
from fedlt.data.class_tree import expect_tree
from fedlt.data.class_vectors import class_vectors_of, expect_width
from fedlt.data.generated import generator_of
from fedlt.data.task import Task
from fedlt.errors import Problem, ScenarioError
from fedlt.learner import Learner, overrides
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
from fedlt.training.compatibility import (
    expect_batches,
    expect_head,
    expect_labels,
    expect_meaning,
    expect_own_head,
    expect_samples,
    expect_stages,
    expect_targets,
    expect_training,
    expect_words,
    refused,
)
from fedlt.training.counted import expect_counted, is_counted
from fedlt.training.initial import Initial
from fedlt.training.local_keys import expect_optimizer, expect_schedule, unread
from fedlt.training.own_statistics import try_own

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario
    from fedlt.data.federation import Federation
    from fedlt.data.inputs.kind import InputKind
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
        """Lines about a model that was taken apart, and about what of it arrived frozen."""
        given = self.flat.given_frozen
        if not given:
            return [*self.found]
        count = sum(self.flat.tensors[name].numel() for name in given)
        names = ", ".join(given[:3]) + (f" and {len(given) - 3} more" if len(given) > 3 else "")
        frozen = "frozen (model.freeze, or requires_grad=False as it arrives), neither trained nor sent"
        return [*self.found, f"{frozen}: {names}; {counted(count, 'number')}"]


def assemble(scenario: Scenario, federation: Federation, device: torch.device) -> Assembly:
    """Build model and layout from the scenario's seed.

    Raises:
        ScenarioError: where the parts do not fit together, or do not fit the data.
    """
    # 1. The methods, as far as they can be judged without data and model.
    strategy, learner, recipe = (choice.create() for choice in (scenario.strategy, scenario.learner, scenario.model))
    expect_words(strategy, learner)
    expect_stages(learner)
    expect_meaning(strategy, learner, scenario.learner.name)

    # 2. What is known of the data to methods that declare the need of it.
    inputs = federation.inputs.for_recipe(recipe)
    expect_targets(scenario, strategy, learner, federation.train_targets.kind)
    vectors = class_vectors_of(recipe, federation.num_classes)
    task = _task(scenario, federation, (*strategy.needs, *learner.needs), inputs, vectors)
    expect_samples(scenario, federation, strategy, learner)
    expect_labels(scenario, federation, learner)
    if reason := inputs.obstacle(scenario.local.augment):
        raise ScenarioError(Problem("local.augment", reason))
    generator = generator_of(scenario.local, task)

    # 3. The model, with what learner and strategy add to it, as one flat vector.
    initial = Initial.of(scenario)
    flat, remarks = _build(scenario, strategy, learner, recipe, task, vectors, initial, device)

    # 4. What of the scenario's keys has no meaning for this training.
    if not is_counted(flat.model):
        expect_training(scenario, strategy, learner, flat)
    expect_optimizer(scenario, (*strategy.needs, *learner.needs))
    expect_schedule(scenario)
    if scenario.evaluation.patience is not None and overrides(strategy, Strategy.conclude):
        message = f"{scenario.strategy.name} ends with an exchange after the last round, whose models are to be kept"
        raise ScenarioError(Problem("evaluation.patience", f"{message}; remove it"))

    # 5. Who trains in a round, and what updates pass on their way.
    sizes = federation.clients.sizes
    cohort = cohort_size(scenario, len(sizes))
    devices = timed(scenario, strategy, sizes, len(flat.shared))
    selection = selection_of(scenario, strategy, len(sizes), devices.asked(cohort) if devices else cohort)
    uniform = isinstance(selection, Uniform) and not (devices and devices.clock.closes)
    setting = Setting(scenario.seed, sizes, cohort, strategy, learner, task, len(flat.shared), flat.num_trainable)
    chain = Chain.of(scenario, replace(setting, uniform=uniform))

    # 6. What is measured.
    own = [choice.create() for choice in scenario.evaluation.metrics]
    try_own(own, task, federation)
    measured = statistics(task.target, own, federation.parents is not None)

    remarks += unread(scenario)
    if vectors is not task.class_vectors:
        remarks.append("model.class_vectors is not read: neither strategy nor learner declares the need of it")
    expect_batches(scenario, strategy, learner, flat, task)
    return Assembly(
        strategy=strategy,
        learner=learner,
        model=flat.model,
        flat=flat,
        task=task,
        chain=chain,
        selection=selection,
        timed=devices,
        statistics=measured,
        found=tuple(remarks),
        initial=initial,
        generator=generator,
    )


def _task(
    scenario: Scenario,
    federation: Federation,
    needs: tuple[str, ...],
    inputs: InputKind,
    vectors: Tensor | None,
) -> Task:
    """What strategy and learner may know of the data.

    Args:
        needs: of both. Class prior and class vectors are given to those alone that declare them.
        vectors: [C, D] of the classes, if the model has them.
    """
    expect_tree(federation.parents, scenario.learner.name, needs)

    target = federation.train_targets.kind

    return Task(
        target.name,
        federation.num_classes,
        inputs.shape,
        federation.seen_counts() if "class_prior" in needs else None,
        scenario.federation.rounds,
        target,
        inputs=inputs,
        class_vectors=vectors if "class_vectors" in needs else None,
        parents=federation.parents,
        group_columns=tuple(federation.train_targets.groups),
    )


def _build(
    scenario: Scenario,
    strategy: Strategy,
    learner: Learner,
    recipe: Any,
    task: Task,
    vectors: Tensor | None,
    initial: Initial | None,
    device: torch.device,
) -> tuple[Flat, list[str]]:
    """The model in its flat layout, and lines about one that was taken apart or has an adapter.

    Whatever is drawn on the way follows from the scenario's seed, and moves no generator of the caller's.
    """
    with torch.random.fork_rng(devices=[]):
        seeding.torch_generators(device, scenario.seed, "model")

        # The model as its recipe has it.
        model = trial.build(recipe, task, scenario.model.name)
        expect_width(vectors, model.feature_dim, scenario.model.title)
        expect_head(scenario, strategy, learner, model)
        expect_counted(scenario, strategy, learner, model)
        remarks = [described(model, recipe.name)] if isinstance(recipe, WrappedModule) else []
        remarks += recipe.adapter.remarks() if isinstance(recipe, Model) and recipe.adapter else []

        # What the learner adds. Weights to begin with go in before the strategy reads the model.
        head = model.head
        hook = name_of((learner, "build"))
        with refused("learner", scenario.learner.name), before_work("learner", hook, but=ValueError):
            learner.build(model, task)
        if initial is not None:
            initial.give(model)
        if model.head is not head:
            expect_own_head(strategy, model.head, scenario.learner.name)

        # What the strategy adds, which may have weights to begin with, too.
        pair = f"{scenario.strategy.name} does not fit {scenario.model.name}; change one of the two: "
        with refused("strategy", scenario.strategy.name, pair):
            with before_work("strategy", name_of((strategy, "build")), but=ValueError):
                if reason := strategy.obstacle(model, task):
                    raise ValueError(reason)
                strategy.build(model, task)
            if initial is not None:
                initial.give(model)
                initial.settle(model)
            private = (*strategy.private, *learner.private)
            flat = Flat(model.to(device), private, strategy.frozen, task.inputs.memory_format)
    return flat, remarks


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


def pick_device(name: str) -> torch.device:
    """The device that `resources.device` names; `auto` takes a GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ScenarioError(Problem("resources.device", "cuda was asked for and no GPU is visible; use auto or cpu"))
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
