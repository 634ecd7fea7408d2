"""The federation: which rows of the data set each client trains on, and which it is tested on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data import localtest, longtail, sources
from fedlt.data.auxiliary import set_apart
from fedlt.data.groups import untested_text
from fedlt.data.noise import noisy_labels
from fedlt.data.partition import Natural, partition
from fedlt.data.provenance import DATA, Inputs, named_now, refuse_changed
from fedlt.data.ragged import Ragged
from fedlt.data.raw import RawLabels
from fedlt.data.unlabelled import add_extra, extra_rows, hide
from fedlt.data.validation import ValidationSet, draw_global, draw_local
from fedlt.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Federation:
    """A data set dealt to clients.

    x_train, x_test: all rows of the source, uint8 [N, H, W, C] or float32 [N, F], usually memory-mapped.
    y_train, y_test: int64 [N]; the training labels are those that the clients see, noise included. clients, tests:
    rows of the training and of the test set for each client; tests may overlap and may be empty. unlabelled: training
    rows that clients hold without labels. class_counts: int64 [C], labelled training samples over all clients by
    their true classes. input_shape: (C, H, W) or (F,). auxiliary: training rows that the server holds, class by class.
    mean, std: float32, per channel of x_train / 255 or per feature, over the whole source. validation: samples that
    nobody trains on, to choose by; None where none are set apart. inputs: digests of all files that this and the run
    are made of (`fedlt.data.provenance`).
    """

    name: str
    kind: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    clients: Ragged
    tests: Ragged
    unlabelled: Ragged
    class_counts: NDArray[np.int64]
    auxiliary: NDArray[np.int64]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    validation: ValidationSet | None = None
    inputs: Inputs = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return len(self.class_names)

    def untested_text(self) -> str:
        """What is to be said of classes without a test sample; "" where every class has one."""
        tested = np.bincount(self.y_test, minlength=self.num_classes)
        return untested_text(self.class_counts, tested, self.class_names)

    def seen_counts(self) -> NDArray[np.int64]:
        """Training samples over all clients by the classes that they see, int64 [C]."""
        return np.bincount(self.y_train[self.clients.values], minlength=self.num_classes)

    def counts(self, client: int) -> NDArray[np.int64]:
        """Training samples of one client by the classes that it sees, int64 [C]."""
        return np.bincount(self.y_train[self.clients[client]], minlength=self.num_classes)

    def client_counts(self) -> NDArray[np.int64]:
        """Training samples of every client by class, int64 [K, C]."""
        return self.clients.table(self.y_train, self.num_classes)

    def union(self) -> NDArray[np.int64]:
        """Training rows that any client holds, ascending."""
        return np.sort(self.clients.values)

    def digest(self) -> str:
        """SHA-256 of the labels and of every client's rows: equal for equal partitions of the same data set."""
        return _digest(self.y_train, self.y_test, self.clients, self.tests, self.unlabelled, self.validation)


@dataclass(frozen=True, eq=False)
class Plan:
    """A federation known from labels alone.

    client_counts, test_counts: training and test samples of each client by class, int64 [K, C]. class_counts:
    int64 [C], training samples over all clients. test_class_counts: int64 [C], samples of the global test set.
    digest: that of the federation; None where the labels were made from public class counts, because rows are then not
    those of the source.
    """

    name: str
    class_names: tuple[str, ...]
    client_counts: NDArray[np.int64]
    test_counts: NDArray[np.int64]
    class_counts: NDArray[np.int64]
    test_class_counts: NDArray[np.int64]
    digest: str | None


def federate(scenario: Scenario, cache_dir: Path | str | None = None, newcomers: bool = False) -> Federation:
    """Load the scenario's data set and deal it to the clients. Raises `ScenarioError`.

    newcomers: give the federation of the clients held out instead (`federation.held_out`), with their own counts.
    """
    named = named_now(scenario)
    raw = sources.load(scenario.data, cache_dir)
    dealt = _deal(scenario, raw.labels(), newcomers)
    refuse_changed(named, named_now(scenario), "the data were read", "run again")
    shape = raw.x_train.shape[1:]

    return Federation(
        name=raw.name,
        kind="single",
        class_names=raw.class_names,
        input_shape=(shape[2], shape[0], shape[1]) if len(shape) == 3 else shape,
        x_train=raw.x_train,
        y_train=dealt.y_train,
        x_test=raw.x_test,
        y_test=raw.y_test,
        clients=dealt.clients,
        tests=dealt.tests,
        unlabelled=dealt.unlabelled,
        class_counts=np.bincount(raw.y_train[dealt.clients.values], minlength=len(raw.class_names)),
        auxiliary=dealt.auxiliary,
        mean=raw.mean,
        std=raw.std,
        validation=dealt.validation,
        inputs={DATA: dict(raw.digests)} | named if raw.digests else named,
    )


def plan(scenario: Scenario, cache_dir: Path | str | None = None) -> Plan:
    """What each client will hold and be tested on, from labels or public class counts. Raises `ScenarioError`."""
    labels = sources.labels(scenario.data, cache_dir)
    dealt = _deal(scenario, labels)
    classes = len(labels.class_names)
    parts = dealt.y_train, labels.y_test, dealt.clients, dealt.tests, dealt.unlabelled, dealt.validation
    return Plan(
        name=labels.name,
        class_names=labels.class_names,
        client_counts=dealt.clients.table(dealt.y_train, classes),
        test_counts=dealt.tests.table(labels.y_test, classes),
        class_counts=dealt.clients.table(labels.y_train, classes).sum(axis=0),
        test_class_counts=np.bincount(labels.y_test, minlength=classes),
        digest=_digest(*parts) if labels.in_source_order else None,
    )


@dataclass(frozen=True)
class _Dealt:
    """Rows of each client, of its tests, without labels, of the server and for validation, and the labels as seen."""

    clients: Ragged
    tests: Ragged
    unlabelled: Ragged
    auxiliary: NDArray[np.int64]
    y_train: NDArray[np.int64]
    validation: ValidationSet | None


def _deal(scenario: Scenario, labels: RawLabels, newcomers: bool = False) -> _Dealt:
    """Partition and local tests look at true labels, and at samples whose label is then hidden too."""
    config, data, seed = scenario.federation, scenario.data, scenario.seed
    classes = len(labels.class_names)
    scheme: Any = config.partition.create() if hasattr(config.partition, "create") else config.partition
    auxiliary, others = set_apart(labels.y_train, data.auxiliary, seed)
    kept = others[longtail.select(labels.y_train[others], data.longtail, seed)]
    chosen = from_training = np.zeros(0, np.int64)
    if data.validation.active:
        chosen, kept, from_training = draw_global(labels.y_train, kept, others, data.validation, seed)

    groups = {column: values[kept] for column, values in labels.train_groups.items()}
    positions = partition(scheme, labels.y_train[kept], groups, config.clients, seed, config.empty)
    clients = Ragged(kept[positions.values], positions.offsets)
    natural = scheme if isinstance(scheme, Natural) else None
    tests = localtest.local_tests(
        config.local_test,
        clients.table(labels.y_train, classes),
        labels.y_test,
        seed,
        np.unique(natural.values(groups)) if natural else None,
        labels.test_groups.get(natural.column) if natural else None,
    )
    # After the tests are drawn, so that setting samples apart leaves every client its test set.
    local = Ragged.from_owner(np.zeros(0, np.int64), len(clients))
    if data.validation.active:
        clients, local = draw_local(clients, labels.y_train, data.validation, seed)

    unlabelled = Ragged.from_owner(np.zeros(0, np.int64), len(clients))
    if data.unlabelled.hidden:
        clients, unlabelled = hide(clients, data.unlabelled, seed)

    if data.unlabelled.extra:
        free = np.setdiff1d(others, np.concatenate([kept, chosen]))
        extra = extra_rows(labels.y_train, free, clients.values, data.unlabelled, seed)
        unlabelled = add_extra(unlabelled, extra, data.unlabelled, seed)

    y_train = noisy_labels(labels.y_train, np.sort(clients.values), classes, data.noise, seed)
    stay = len(clients) - config.held_out
    if stay < 1:
        message = f"expected fewer than the {len(clients)} clients, got {config.held_out}"
        raise ScenarioError(Problem("federation.held_out", message))

    clients, tests, unlabelled, local = (rows.split(stay)[newcomers] for rows in (clients, tests, unlabelled, local))
    active = data.validation.active
    validation = ValidationSet.of(labels.y_train, chosen, local, from_training) if active else None
    return _Dealt(clients, tests, unlabelled, auxiliary, y_train, validation)


def _digest(
    y_train: NDArray[np.int64],
    y_test: NDArray[np.int64],
    clients: Ragged,
    tests: Ragged,
    unlabelled: Ragged,
    validation: ValidationSet | None,
) -> str:
    content = hashlib.sha256()
    arrays = [y_train, y_test, clients.values, clients.offsets, tests.values, tests.offsets]
    if len(unlabelled.values):
        arrays += [unlabelled.values, unlabelled.offsets]
    if validation is not None:
        arrays += [validation.rows, validation.clients.offsets]
    for array in arrays:
        content.update(len(array).to_bytes(8, "little"))
        content.update(np.ascontiguousarray(array, "<i8").tobytes())
    return content.hexdigest()
