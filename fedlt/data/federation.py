"""The federation: which rows of the data set each client trains on, and which it is tested on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data import localtest, longtail, sources
from fedlt.data.auxiliary import set_apart
from fedlt.data.partition import Natural, partition
from fedlt.data.ragged import Ragged
from fedlt.data.raw import RawLabels

if TYPE_CHECKING:
    from fedlt.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Federation:
    """A data set dealt to clients.

    x_train, x_test: all rows of the source, uint8 [N, H, W, C] or float32 [N, F], usually memory-mapped.
    y_train, y_test: int64 [N]. clients, tests: rows of the training and of the test set for each client; tests
    may overlap and may be empty. class_counts: int64 [C], training samples over all clients. input_shape:
    (C, H, W) or (F,). auxiliary: training rows that the server holds, class by class.
    mean, std: float32, per channel of x_train / 255 or per feature, over the whole source.
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
    class_counts: NDArray[np.int64]
    auxiliary: NDArray[np.int64]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return len(self.class_names)

    def counts(self, client: int) -> NDArray[np.int64]:
        """Training samples of one client by class, int64 [C]."""
        return np.bincount(self.y_train[self.clients[client]], minlength=self.num_classes)

    def client_counts(self) -> NDArray[np.int64]:
        """Training samples of every client by class, int64 [K, C]."""
        return self.clients.table(self.y_train, self.num_classes)

    def union(self) -> NDArray[np.int64]:
        """Training rows that any client holds, ascending."""
        return np.sort(self.clients.values)

    def digest(self) -> str:
        """SHA-256 of the labels and of every client's rows: equal for equal partitions of the same data set."""
        return _digest(self.y_train, self.y_test, self.clients, self.tests)


@dataclass(frozen=True, eq=False)
class Plan:
    """A federation known from labels alone.

    client_counts, test_counts: training and test samples of each client by class, int64 [K, C]. class_counts:
    int64 [C], training samples over all clients. digest: that of the federation; None where the labels were made
    from public class counts, because rows are then not those of the source.
    """

    name: str
    class_names: tuple[str, ...]
    client_counts: NDArray[np.int64]
    test_counts: NDArray[np.int64]
    class_counts: NDArray[np.int64]
    digest: str | None


def federate(scenario: Scenario, cache_dir: Path | str | None = None) -> Federation:
    """Load the scenario's data set and deal it to the clients. Raises `ScenarioError`."""
    raw = sources.load(scenario.data, cache_dir)
    clients, tests, auxiliary = _deal(scenario, raw.labels())
    shape = raw.x_train.shape[1:]
    return Federation(
        name=raw.name,
        kind="single",
        class_names=raw.class_names,
        input_shape=(shape[2], shape[0], shape[1]) if len(shape) == 3 else shape,
        x_train=raw.x_train,
        y_train=raw.y_train,
        x_test=raw.x_test,
        y_test=raw.y_test,
        clients=clients,
        tests=tests,
        class_counts=np.bincount(raw.y_train[clients.values], minlength=len(raw.class_names)),
        auxiliary=auxiliary,
        mean=raw.mean,
        std=raw.std,
    )


def plan(scenario: Scenario, cache_dir: Path | str | None = None) -> Plan:
    """What each client will hold and be tested on, from labels or public class counts. Raises `ScenarioError`."""
    labels = sources.labels(scenario.data, cache_dir)
    clients, tests, _ = _deal(scenario, labels)
    client_counts = clients.table(labels.y_train, len(labels.class_names))
    return Plan(
        name=labels.name,
        class_names=labels.class_names,
        client_counts=client_counts,
        test_counts=tests.table(labels.y_test, len(labels.class_names)),
        class_counts=client_counts.sum(axis=0),
        digest=_digest(labels.y_train, labels.y_test, clients, tests) if labels.in_source_order else None,
    )


def _deal(scenario: Scenario, labels: RawLabels) -> tuple[Ragged, Ragged, NDArray[np.int64]]:
    """Training rows and test rows of each client, and the server's rows."""
    config = scenario.federation
    scheme: Any = config.partition.create() if hasattr(config.partition, "create") else config.partition
    auxiliary, others = set_apart(labels.y_train, scenario.data.auxiliary, scenario.seed)
    kept = others[longtail.select(labels.y_train[others], scenario.data.longtail, scenario.seed)]
    groups = {column: values[kept] for column, values in labels.train_groups.items()}
    positions = partition(scheme, labels.y_train[kept], groups, config.clients, scenario.seed, config.empty)
    clients = Ragged(kept[positions.values], positions.offsets)
    natural = scheme if isinstance(scheme, Natural) else None
    tests = localtest.local_tests(
        config.local_test,
        clients.table(labels.y_train, len(labels.class_names)),
        labels.y_test,
        scenario.seed,
        np.unique(natural.values(groups)) if natural else None,
        labels.test_groups.get(natural.column) if natural else None,
    )
    return clients, tests, auxiliary


def _digest(y_train: NDArray[np.int64], y_test: NDArray[np.int64], clients: Ragged, tests: Ragged) -> str:
    content = hashlib.sha256()
    for array in (y_train, y_test, clients.values, clients.offsets, tests.values, tests.offsets):
        content.update(len(array).to_bytes(8, "little"))
        content.update(np.ascontiguousarray(array, "<i8").tobytes())
    return content.hexdigest()
