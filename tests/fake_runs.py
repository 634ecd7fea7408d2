"""Run folders written by hand, for tests of what reads them: a made-up split, and predictions with a given accuracy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from types import SimpleNamespace
from typing import Any

import numpy as np

from fedlt.config.declarations import BEYOND_MODEL
from fedlt.config.scenario import load_scenario
from fedlt.data.groups import Grouping
from fedlt.data.targets import Targets
from fedlt.measures.metrics import Confusion
from fedlt.results.record import RunWriter
from fedlt.results.runs import Run, open_run
from tests.evaluations import evaluation

TESTED = 100  # samples of the global test set, 50 a class; each client is tested on as many


def split() -> Any:
    """Three clients of 120, 30 and 15 samples of two classes: class 0 is a head class, class 1 a medium one."""
    held = [np.repeat([0, 1], [90, 30]), np.repeat([0, 1], [20, 10]), np.repeat([0, 1], [15, 0])]
    y_train, y_test = np.concatenate(held), np.repeat([0, 1], TESTED // 2)
    offsets = np.cumsum([0, *map(len, held)])
    rows = SimpleNamespace(values=np.arange(len(y_train)), offsets=offsets)
    tests = SimpleNamespace(values=np.tile(np.arange(TESTED), 3), offsets=TESTED * np.arange(4))
    return SimpleNamespace(
        class_names=("cat", "dog"), class_counts=np.bincount(y_train),
        train_targets=Targets.of_classes(y_train), test_targets=Targets.of_classes(y_test),
        clients=rows, tests=tests, validation=None, grouping=Grouping(),
        counts=lambda k: np.bincount(held[k], minlength=2),
    )  # fmt: skip


def confusion(right: int) -> Confusion:
    """Of the 100 test samples the first `right` are predicted correctly: those of class 0 first."""
    true = np.repeat([0, 1], TESTED // 2)
    return Confusion.from_predictions(true, np.where(np.arange(TESTED) < right, true, 1 - true), 2)


def make_run(
    out: Path,
    scenario: dict[str, Any],
    *overrides: str,
    right: Sequence[int] = (60,),
    personal: Sequence[int] = (50, 60, 70),
    variants: dict[str, int] | None = None,
    partition_hash: str | None = None,
    finish: bool = True,
    simulated: float | None = None,
) -> Run:
    """A run whose generic model has `right` of 100 right in each evaluation, and whose clients `personal` in all.

    variants: further generic models by name, with their numbers of right answers. Three rounds between evaluations.
    simulated: seconds of a round on the clients' devices; None: they have no clock.
    """
    text = json.dumps([scenario, overrides, right, personal, variants, partition_hash, finish, simulated])
    made = _made.__wrapped__(text) if ".py" in text else _made(text)  # a file may be another one in each test
    shutil.rmtree(out / made.name, ignore_errors=True)
    return open_run(shutil.copytree(made, out / made.name))


@cache
def _made(text: str) -> Path:
    """The run of some arguments, written once in a session: a dozen files, which are quicker copied."""
    scenario, overrides, right, personal, variants, partition_hash, finish, simulated = json.loads(text)
    checked = load_scenario(scenario, overrides)
    names = {"scenario": "toy", "strategy": checked.strategy.name, "learner": checked.learner.name}
    partition = partition_hash or f"partition of seed {checked.seed}"
    declared = *checked.strategy.component.needs, *checked.learner.component.needs
    needs = [need for need in declared if need in BEYOND_MODEL]
    meta = {**names, "needs": needs, "model": checked.model.name, "seed": checked.seed, "partition_hash": partition}
    writer = RunWriter(Path(mkdtemp(dir=_kept().name)) / checked.run_name, checked.to_yaml(), meta)
    writer.start()
    writer.partition(split())
    for number, count in enumerate(right, 1):
        for round in (3 * number - 2, 3 * number - 1, 3 * number):
            row = {"round": round, "seconds": 0.5, "clients": 2, "bytes_up": 3_000_000, "bytes_down": 5_000_000}
            timed = {} if simulated is None else {"simulated_seconds": simulated}
            writer.round({**row, "train_loss": 1 / round, **timed})
        clients = {client: confusion(good) for client, good in enumerate(personal)}
        generic = {"": confusion(count), **{name: confusion(good) for name, good in (variants or {}).items()}}
        writer.evaluation(evaluation(3 * number, generic, {"": clients}, {"": clients}))
    if finish:
        writer.finish()
    return writer.folder


@cache
def _kept() -> TemporaryDirectory[str]:
    return TemporaryDirectory()
