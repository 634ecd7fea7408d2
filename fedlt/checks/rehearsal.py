"""A few rounds in this process, with every step in sight: what the conformance suite of strategies runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from flwr.app import Message
from safetensors import torch as safetensors
from torch import nn

from clients.worker import Worker
from fedlt.checks.stage_inputs import in_histories, in_sets, in_steps, in_words
from fedlt.config.catalog import find
from fedlt.config.component import Choice, Component, Made
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.data.federation import Federation, federate
from fedlt.data.ragged import Ragged
from fedlt.exchange import States
from fedlt.nn.model import ImageModel
from fedlt.nn.norm import norm
from fedlt.nn.text.transformer import Transformer
from fedlt.results.runs import Evaluation
from fedlt.strategy import Strategy
from fedlt.training.assembly import assemble
from fedlt.training.server_tensors import held_tensors, hold_tensors
from server.grids.local import SERVER_NODE, LocalGrid
from server.records import pack_report, unpack_job
from server.rounds.loop import Rounds
from server.rounds.progress import Progress
from server.rounds.replay import replay
from server.state.artifacts import model_hash
from server.state.states import StateStore

COHORTS = ((0, 1, 3, 4), (0, 2, 3, 4))  # client 5 is tested without having been sampled
POOR = ((0, 1), (1, 2))  # clients of one or two classes


class Stage(LocalGrid):
    """A grid whose nodes are workers of their own, as separate processes would hold them.

    Attributes:
        noise: what PyTorch's global generator is seeded with at the server's side, where nobody should draw from it.
    """

    def __init__(self, workers: list[Worker], noise: int) -> None:
        super().__init__(len(workers))
        self._workers, self._noise = workers, noise

    def _answer(self, messages: list[Message]) -> Iterator[Message]:
        """Let the workers answer, each with another state of PyTorch's generator before."""
        for message in messages:
            worker = self._workers[message.metadata.dst_node_id - SERVER_NODE - 1]
            report = worker.run(unpack_job(message.content))
            yield Message(pack_report(report), reply_to=message)
        torch.default_generator.manual_seed(self._noise)  # see `seeding.torch_generators`


class _GivenCohorts(Rounds):
    given: tuple[tuple[int, ...], ...] = COHORTS

    def cohort(self, round: int) -> list[int]:
        return list(self.given[round - 1])


ITEM_MODELS = {"item_tower": "two_towers", "gated_experts": "behaviour_experts"}
"""Models of histories, by what a learner declares that it needs."""


class _Stopped(Exception):
    """The run ends here, as if its process had been killed."""


def stage_set(strategy: Choice, learner: Choice | None = None, rounds: int = 2) -> tuple[Scenario, Federation]:
    """A scenario of so many rounds, and clients with one sample, one class, two classes, or many.

    Where it needs them, clients have samples without labels, too, and classes have parents. The server has samples of
    its own with labels and without, and to choose by where the strategy declares that need. What reads words is given
    some.

    Args:
        learner: cross-entropy unless given.
    """
    needs = {need for part in (strategy, learner) if part is not None for need in part.component.needs}
    counts, clauses = "count_model" in needs, "clause_model" in needs
    unlabelled = learner is not None and "unlabelled" in learner.component.needs
    chosen_by = 2 if "server_validation" in strategy.create().needs else 0

    content: dict[str, Any] = {
        "data": {
            "name": "digits",
            "auxiliary": 2,
            "server_unlabelled": 0.02,
            "unlabelled": {"hidden": 0.3 if unlabelled else 0.0},
            "validation": {"per_class": chosen_by},
        },
        "federation": {"clients": 6, "rounds": rounds, "partition": "iid", "block": 2},
        "local": {"epochs": 2, "batch_size": 16, "lr": 0.05, "momentum": 0.5},
        "evaluation": {"every": 1, "batch_size": 16},
    }

    reads, steps, several = (need in needs for need in ("tokens", "step_labels", "several_labels"))
    recipe = Transformer(width=8, heads=2, depth=1) if reads else _Tiny()
    model = Choice("tiny", {}, Made.of(Component("model", "tiny", "", "", ()), lambda options: recipe))
    if counts:
        model = Choice("ss3", {}, find("model", "ss3"))
        learner = learner or Choice("counting", {}, find("learner", "counting"))
    if clauses:
        model = Choice("clauses", {"count": 20}, find("model", "clauses"))
        learner = learner or Choice("tsetlin", {}, find("learner", "tsetlin"))
    scenario = replace(load_scenario(content), model=model, strategy=strategy)
    if learner is not None:
        scenario = replace(scenario, learner=learner)
    federation = _federation(scenario)
    for need, name in ITEM_MODELS.items():
        if need in needs:
            items = Choice(name, {"width": 4, "hidden": 8, "dim": 4}, find("model", name))
            return replace(scenario, model=items), in_histories(federation, asked=need == "gated_experts")
    if steps:
        tagger = Choice("bilstm_tagger", {"hidden": 4, "width": 4}, find("model", "bilstm_tagger"))
        return replace(scenario, model=tagger), in_steps(federation)
    if learner is not None and "class_tree" in learner.component.needs:
        federation = replace(federation, parents=np.arange(federation.num_classes) // 2)
    if several:
        return scenario, in_sets(federation)
    return scenario, in_words(federation) if counts or clauses or reads else federation


def expect_stage(strategy: Choice) -> None:
    """Raise `ScenarioError` where the strategy does not fit the rehearsals' model, whose parameters it may name."""
    scenario, federation = stage_set(strategy)
    assemble(scenario, federation, torch.device("cpu"))


def rehearse(
    scenario: Scenario,
    federation: Federation,
    noise: int,
    nodes: int = 1,
    saved: bool = False,
    resumed: bool = False,
    cohorts: tuple[tuple[int, ...], ...] = COHORTS,
    trained_by: Scenario | None = None,
) -> str:
    """A hash of all that the rounds left: models, states, outbox and every statistic.

    Raises whatever the strategy raises.

    Args:
        noise: see `Stage`.
        saved: all states go through their form on disk after every round.
        resumed: after the first round, server and workers are made anew and given what a checkpoint holds.
        cohorts: the clients of each round.
        trained_by: a scenario that trains the same; only its models are tested.
    """
    digest = hashlib.sha256()

    def on_evaluation(found: Evaluation) -> None:
        for content in _contents(found):
            digest.update(content)

    def begin(states: StateStore) -> Rounds:
        stage = Stage([Worker(scenario, federation) for _ in range(nodes)], noise)
        return _rounds(scenario, federation, stage, states, on_round, on_evaluation, cohorts)

    def on_round(row: dict[str, Any]) -> None:
        if saved:
            _through_disk(rounds.progress)
        if resumed and rounds.progress.round == 1:
            raise _Stopped

    with TemporaryDirectory() as folder, closing(StateStore(Path(folder))) as states:
        rounds = begin(states)
        try:
            if trained_by is None:
                progress = rounds.run()
            else:
                progress = replay(rounds, _train(trained_by, federation, noise, cohorts, Path(folder)))
        except _Stopped:
            held, extents = _loaded(rounds.progress.tensors()), states.flush()
            rounds = begin(states)
            rounds.progress.load(held, 1)
            states.restore(extents)
            progress = rounds.run()
        digest.update(model_hash(progress, Strategy()).encode())  # not the watched one: the outbox follows below
    for name, value in sorted(held_tensors(progress.server).items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


@dataclass
class _Trained:
    """What rounds of a rehearsal left, each in memory and what clients kept in a folder of its own."""

    folder: Path
    found: dict[int, tuple[dict[str, Any], dict[str, torch.Tensor], States]] = field(default_factory=dict)

    def rows(self, after: int) -> Iterator[dict[str, Any]]:
        yield from (row for round, (row, _, _) in self.found.items() if round > after)

    def load(self, progress: Progress, round: int) -> None:
        _, tensors, kept = self.found[round]
        progress.load(_loaded(tensors), round)
        progress.states = StateStore(self.folder / f"trained{round}")
        progress.states.update(kept)


def _train(
    scenario: Scenario, federation: Federation, noise: int, cohorts: tuple[tuple[int, ...], ...], folder: Path
) -> _Trained:
    """Play the rounds for what they leave, without a test between them.

    Args:
        scenario, federation: what is trained.
        noise: see `Stage`.
        cohorts: the clients of each round.
        folder: for what clients keep.
    """
    trained = _Trained(folder)
    untested = replace(scenario, evaluation=replace(scenario.evaluation, every=scenario.federation.rounds))

    def keep(row: dict[str, Any]) -> None:
        progress = rounds.progress
        kept = states.read(states.clients())
        trained.found[progress.round] = dict(row), _loaded(progress.tensors()), kept

    with closing(StateStore(folder / "training")) as states:
        stage = Stage([Worker(untested, federation)], noise)
        rounds = _rounds(untested, federation, stage, states, keep, _ignore, cohorts)
        rounds.run()
    return trained


def _rounds(
    scenario: Scenario,
    federation: Federation,
    stage: Stage,
    states: StateStore,
    on_round: Callable[[dict[str, Any]], None],
    on_evaluation: Callable[[Evaluation], None],
    cohorts: tuple[tuple[int, ...], ...],
) -> Rounds:
    """The round loop over an inline grid."""
    parts = assemble(scenario, federation, torch.device("cpu"))
    rounds = _GivenCohorts(stage, scenario, federation, parts, states, on_round, on_evaluation, _ignore)
    rounds.given = cohorts
    return rounds


def _ignore(event: object) -> None:
    """Nobody reads what a rehearsal measures."""


def _through_disk(progress: Progress) -> None:
    hold_tensors(progress.server, _loaded(held_tensors(progress.server)))
    progress.states.restore(progress.states.flush())


def _loaded(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return safetensors.load(safetensors.save(tensors))


@dataclass(frozen=True)
class _Tiny(ImageModel):
    """A convolution with batch normalisation: the least that has everything a strategy may name."""

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        """A small convolution with batch normalisation."""
        channels, height, width = self.image_shape(input_shape)
        parts = nn.Sequential()
        parts.add_module("conv", nn.Conv2d(channels, 4, 3, stride=2, padding=1, bias=False))
        parts.add_module("norm", norm("batch", 4))
        parts.add_module("tail", nn.Sequential(nn.ReLU(), nn.Flatten()))
        return parts, 4 * (height // 2) * (width // 2)


def _federation(scenario: Scenario) -> Federation:
    """Six clients with 1, 9, 17, 30, 26 and 12 training samples, and four test samples of each class that they know."""
    whole = federate(scenario)
    wanted = (
        {0: 1},
        {1: 9},
        {0: 6, 2: 11},
        dict.fromkeys(range(10), 3),
        {0: 20, 3: 5, 9: 1},
        dict.fromkeys(range(4), 3),
    )
    pool = np.setdiff1d(whole.clients.values, whole.auxiliary)
    left = {label: list(members) for label, members in enumerate(whole.train_targets.by_class(pool))}
    rows = [np.array([left[c].pop() for c, n in mix.items() for _ in range(n)]) for mix in wanted]
    kept = np.concatenate([members[:4] for members in whole.test_targets.by_class()])
    tests = [np.concatenate([np.arange(4 * label, 4 * label + 4) for label in mix]) for mix in wanted]
    clients = Ragged.from_rows(rows)

    return replace(
        whole,
        x_test=np.ascontiguousarray(whole.x_test[kept]),
        test_targets=whole.test_targets.select(kept),
        clients=clients,
        tests=Ragged.from_rows(tests),
        class_counts=whole.train_targets.counts(clients.values),
    )


def _contents(found: Evaluation) -> Iterator[bytes]:
    """All that an evaluation has measured, array by array."""
    for (name, subject), statistic in found.statistics.items():
        for array, value in statistic.to_arrays().items():
            yield f"{name} {subject.key} {array} {value.dtype} {value.shape}".encode() + value.tobytes()
