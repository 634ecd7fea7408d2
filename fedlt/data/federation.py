"""The federation: which rows of the data set each client trains on, and which it is tested on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data import encoded, localtest, sources
from fedlt.data.aside import set_aside
from fedlt.data.class_tree import parents_of
from fedlt.data.groups import Grouping, untested_text
from fedlt.data.inputs import InputKind
from fedlt.data.noise import seen_labels
from fedlt.data.partitions.dealing import partition
from fedlt.data.partitions.natural import Natural
from fedlt.data.partitions.scheme import SourceRows
from fedlt.data.provenance import DATA, MadeOf, named_now, refuse_changed
from fedlt.data.ragged import Ragged
from fedlt.data.raw import RawLabels
from fedlt.data.server_unlabelled import at_server
from fedlt.data.targets import Groups, Targets
from fedlt.data.unlabelled import add_extra, extra_rows, hide
from fedlt.data.validation import ValidationSet, draw_local
from fedlt.data.vocabulary import undecided, with_vocabulary
from fedlt.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Federation:
    """A data set dealt to clients.

    Attributes:
        inputs: the kind of the inputs, fitted to the whole source.
        x_train, x_test: all rows of the source as that kind stores them, usually memory-mapped.
        train_targets, test_targets: labels of all these rows, those for training as the clients see them, noise
            included.
        clients, tests: rows of the training and of the test set for each client; tests may overlap and may be empty.
        unlabelled: training rows that clients hold without labels.
        class_counts: int64 [C], labels of the training samples over all clients, the true ones.
        auxiliary: training rows that the server holds, class by class.
        server_unlabelled: training rows that it may hold without labels, ascending.
        validation: samples that nobody trains on, to choose by; None where none are set apart.
        made_of: digests of all files that this and the run are made of (`fedlt.data.provenance`).
        grouping: by which rule classes are head, medium and tail.
        parents: int64 [C], those of the classes in a tree; None where there is none.
    """

    name: str
    class_names: tuple[str, ...]
    inputs: InputKind
    x_train: NDArray[Any]
    train_targets: Targets
    x_test: NDArray[Any]
    test_targets: Targets
    clients: Ragged
    tests: Ragged
    unlabelled: Ragged
    class_counts: NDArray[np.int64]
    auxiliary: NDArray[np.int64]
    server_unlabelled: NDArray[np.int64]
    validation: ValidationSet | None = None
    made_of: MadeOf = field(default_factory=dict)
    grouping: Grouping = field(default_factory=Grouping)
    parents: NDArray[np.int64] | None = None

    @property
    def y_train(self) -> NDArray[Any]:
        """[N, ...] the training labels that the clients see, as an array."""
        return self.train_targets.values

    @property
    def y_test(self) -> NDArray[Any]:
        """[N, ...] the test labels as an array."""
        return self.test_targets.values

    @property
    def kind(self) -> str:
        """What the labels are, such as `single`."""
        return self.train_targets.kind.name

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return len(self.class_names)

    def untested_text(self) -> str:
        """What is to be said of classes without a test sample; "" where every class has one."""
        return untested_text(self.grouping(self.class_counts), self.test_targets.counts(), self.class_names)

    def test_share_text(self, share: float | None) -> str:
        """What is to be said of a test set that was cut from the training set; "" where it came with the data."""
        if share is None:
            return ""
        taken = f"{len(self.test_targets):,} samples, {share:.3g} of each class"
        return f"the test set is taken from the training data (data.test_share): {taken}, the same for every seed"

    def seen_counts(self) -> NDArray[np.int64]:
        """Training samples over all clients by the classes that they see, int64 [C]."""
        return self.train_targets.counts(self.clients.values)

    def counts(self, client: int) -> NDArray[np.int64]:
        """Training samples of one client by the classes that it sees, int64 [C]."""
        return self.train_targets.counts(self.clients[client])

    def client_counts(self) -> NDArray[np.int64]:
        """Training samples of every client by class, int64 [K, C]."""
        return self.train_targets.table(self.clients)

    def union(self) -> NDArray[np.int64]:
        """Training rows that any client holds, ascending."""
        return np.sort(self.clients.values)

    def digest(self) -> str:
        """SHA-256 of the labels and of every client's rows: equal for equal partitions of the same data set."""
        return _digest(
            self.train_targets, self.test_targets, self.clients, self.tests, self.unlabelled, self.validation
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """A federation known from labels alone.

    Attributes:
        client_sizes, test_sizes: training and test samples of each client, int64 [K].
        client_counts, test_counts: their labels by class, int64 [K, C]; a sample counts for all its classes.
        class_counts: int64 [C], training labels over all clients.
        test_class_counts: int64 [C], labels of the global test set.
        digest: that of the federation; None where the labels were made from public class counts, because rows are then
            not those of the source.
    """

    name: str
    class_names: tuple[str, ...]
    client_sizes: NDArray[np.int64]
    test_sizes: NDArray[np.int64]
    client_counts: NDArray[np.int64]
    test_counts: NDArray[np.int64]
    class_counts: NDArray[np.int64]
    test_class_counts: NDArray[np.int64]
    digest: str | None


def federate(
    scenario: Scenario, cache_dir: Path | str | None = None, newcomers: bool = False, pending: bool = False
) -> Federation:
    """Load the scenario's data set and deal it to the clients. Raises `ScenarioError`.

    Args:
        newcomers: give the federation of the clients held out instead (`federation.held_out`), with their own counts.
        pending: where the features of `data.encoder` are not made yet, let zeros stand for them (`fedlt.data.encoded`).
    """
    named = named_now(scenario)
    raw = encoded.load(scenario.data, cache_dir, pending)
    dealt = _deal(scenario, raw, newcomers)
    if undecided(raw):  # those who join later have no part in it
        counting = _deal(scenario, raw) if newcomers else dealt
        raw = with_vocabulary(raw, scenario.data, [counting.clients, counting.unlabelled])
    refuse_changed(named, named_now(scenario), "the data were read", "run again")

    return Federation(
        name=raw.name,
        class_names=raw.class_names,
        inputs=raw.inputs,
        x_train=raw.x_train,
        train_targets=dealt.seen,
        x_test=raw.x_test,
        test_targets=raw.test_targets,
        clients=dealt.clients,
        tests=dealt.tests,
        unlabelled=dealt.unlabelled,
        class_counts=raw.train_targets.counts(dealt.clients.values),
        auxiliary=dealt.auxiliary,
        server_unlabelled=dealt.server_unlabelled,
        validation=dealt.validation,
        made_of={DATA: dict(raw.digests)} | named if raw.digests else named,
        grouping=Grouping(**vars(scenario.evaluation.groups)),
        parents=parents_of(scenario.data, raw.train_targets),
    )


def plan(scenario: Scenario, cache_dir: Path | str | None = None) -> Plan:
    """What each client will hold and be tested on, from labels or public class counts. Raises `ScenarioError`."""
    labels = sources.labels(scenario.data, cache_dir)
    dealt = _deal(scenario, labels)
    content = dealt.seen, labels.test_targets, dealt.clients, dealt.tests, dealt.unlabelled, dealt.validation

    return Plan(
        name=labels.name,
        class_names=labels.class_names,
        client_sizes=dealt.clients.sizes,
        test_sizes=dealt.tests.sizes,
        client_counts=dealt.seen.table(dealt.clients),
        test_counts=labels.test_targets.table(dealt.tests),
        class_counts=labels.train_targets.table(dealt.clients).sum(axis=0),
        test_class_counts=labels.test_targets.counts(),
        digest=_digest(*content) if labels.in_source_order else None,
    )


@dataclass(frozen=True)
class _Dealt:
    """Rows of each client, of its tests, without labels, of the server and for validation, and the targets as seen."""

    clients: Ragged
    tests: Ragged
    unlabelled: Ragged
    auxiliary: NDArray[np.int64]
    server_unlabelled: NDArray[np.int64]
    seen: Targets
    validation: ValidationSet | None


def given_to_partition(scenario: Scenario) -> tuple[NDArray[np.int64], Groups, SourceRows | None]:
    """What the scenario's partition looks at: the class of each sample that it deals, group columns, source rows."""
    return _to_partition(labels := sources.labels(scenario.data), set_aside(scenario, labels.train_targets).kept)


def _to_partition(labels: RawLabels, kept: NDArray[np.int64]) -> tuple[NDArray[np.int64], Groups, SourceRows | None]:
    """The same for the rows that are kept."""
    true = labels.train_targets
    groups = {column: values[kept] for column, values in true.groups.items()}
    source = SourceRows(kept, len(true)) if labels.in_source_order else None
    return true.lead[kept], groups, source


def _deal(scenario: Scenario, labels: RawLabels, newcomers: bool = False) -> _Dealt:
    """Partition and local tests look at true labels, and at samples whose label is then hidden too."""
    config, data, seed, true = scenario.federation, scenario.data, scenario.seed, labels.train_targets
    scheme: Any = config.partition.create() if hasattr(config.partition, "create") else config.partition
    rows = set_aside(scenario, true)
    kept, chosen = rows.kept, rows.chosen

    # Who holds which rows.
    lead, groups, source = _to_partition(labels, kept)
    positions = partition(scheme, lead, groups, config.clients, seed, config.empty, source)
    clients = Ragged(kept[positions.values], positions.offsets)

    held = clients.values
    natural = scheme if isinstance(scheme, Natural) else None

    tests = localtest.local_tests(
        config.local_test,
        true.led(clients),
        labels.test_targets,
        seed,
        np.unique(natural.values(groups)) if natural else None,
        labels.test_targets.groups.get(natural.column) if natural else None,
    )
    # After the tests are drawn, so that setting samples apart leaves every client its test set.
    local = Ragged.from_owner(np.zeros(0, np.int64), len(clients))
    if data.validation.active:
        clients, local = draw_local(clients, true, data.validation, seed)

    unlabelled = Ragged.from_owner(np.zeros(0, np.int64), len(clients))
    if data.unlabelled.hidden:
        clients, unlabelled = hide(clients, data.unlabelled, seed)

    free = np.setdiff1d(rows.others, np.concatenate([held, chosen]))
    if data.unlabelled.extra:
        extra = extra_rows(true, free, clients.values, data.unlabelled, seed)
        unlabelled = add_extra(unlabelled, extra, data.unlabelled, seed)
        free = np.setdiff1d(free, extra)

    server_unlabelled = at_server(rows.unlabelled, free, data.server_unlabelled, seed)

    seen = seen_labels(true, clients, data.noise, seed)

    # Clients held out are those with the highest numbers; newcomers are given these alone.
    stay = len(clients) - config.held_out
    if stay < 1:
        message = f"expected fewer than the {len(clients)} clients, got {config.held_out}"
        raise ScenarioError(Problem("federation.held_out", message))

    clients, tests, unlabelled, local = (held.split(stay)[newcomers] for held in (clients, tests, unlabelled, local))
    if config.left_out:
        _expect_some(config.left_out, len(clients))
        clients, unlabelled, local = (held.emptied(config.left_out) for held in (clients, unlabelled, local))

    active = data.validation.active
    validation = ValidationSet.of(true, chosen, local, rows.from_training) if active else None
    return _Dealt(clients, tests, unlabelled, rows.auxiliary, server_unlabelled, seen, validation)


def _expect_some(left_out: list[int], clients: int) -> None:
    """Raise `ScenarioError` unless those left out are clients, and others stay."""
    if not set(left_out) < set(range(clients)) or len(set(left_out)) < len(left_out):
        message = f"expected different clients of 0..{clients - 1}, and not all of them, got {left_out}"
        raise ScenarioError(Problem("federation.left_out", message))


def _digest(
    train: Targets,
    test: Targets,
    clients: Ragged,
    tests: Ragged,
    unlabelled: Ragged,
    validation: ValidationSet | None,
) -> str:
    """A hash of who holds what, by which runs know that they had the same data."""
    content = hashlib.sha256()
    arrays = [train.values, test.values, clients.values, clients.offsets, tests.values, tests.offsets]

    # What came later counts only where it is used, so that older digests stay.
    if len(unlabelled.values):
        arrays += [unlabelled.values, unlabelled.offsets]
    if validation is not None:
        arrays += [validation.rows, validation.clients.offsets]

    for array in arrays:
        content.update(len(array).to_bytes(8, "little"))
        content.update(np.ascontiguousarray(array, "<i8").tobytes())

    return content.hexdigest()
