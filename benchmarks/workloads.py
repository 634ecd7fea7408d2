"""The workloads: what is trained, on random data that are written once and read by every system.

Random pixels take as long to learn from as real ones: these files are about speed, never about accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.ragged import Ragged
from fedlt.process import seeding

if TYPE_CHECKING:
    from fedlt.nn.net import Net

CLASSES = 10
COMPARED = (
    *("bare-threads", "bare-processes", "fedlt-inline", "fedlt-processes", "fedlt-ray", "fedlt-best", "fedlt-bf16"),
    *("flower", "pfl-2", "fluke"),
)


@dataclass(frozen=True)
class Workload:
    """One federated training, the same for all systems.

    clients share `rows` training images of `shape` (height, width, channels), in equal parts, or in the parts of
    FedLT's `dirichlet_per_class` with that alpha. cohort: clients in a round. block: clients that FedLT adds up
    before they travel. warmup: first rounds left out of the steady state. rounds: as many as take a system of good
    speed 10 to 40 s on two slow cores. systems: those compared unless others are named.
    """

    clients: int
    rows: int
    shape: tuple[int, int, int]
    cohort: int
    batch_size: int
    model: Mapping[str, Any]
    rounds: int
    block: int
    alpha: float | None = None
    test_rows: int = 200
    epochs: int = 1
    lr: float = 0.01
    momentum: float = 0.9
    warmup: int = 2
    seed: int = 0
    systems: tuple[str, ...] = COMPARED

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width), as the model takes it."""
        height, width, channels = self.shape
        return channels, height, width


CIFAR = {"clients": 100, "rows": 20_000, "shape": (32, 32, 3), "cohort": 10, "batch_size": 50, "alpha": 0.5, "block": 1}
PERSONAL = ("personal-off", "personal-on", "personal-kpass")

WORKLOADS: dict[str, Workload] = {
    "tiny": Workload(
        clients=1000,
        rows=20_000,
        shape=(28, 28, 1),
        cohort=100,
        batch_size=10,
        model={"name": "cnn", "width": 8, "hidden": 64},
        rounds=60,
        block=5,
    ),
    "cifar-cnn": Workload(**CIFAR, model={"name": "cnn"}, rounds=15),
    "cifar-resnet8": Workload(**CIFAR, model={"name": "resnet8"}, rounds=10),
    "cifar-resnet18": Workload(**CIFAR, model={"name": "resnet18"}, rounds=3),
    "personal": Workload(  # 40 clients, 30 % a round, 5 epochs, test set of 0.8 of the training set: as CIFAR-10-LT
        clients=40,
        rows=2_000,
        shape=(32, 32, 3),
        cohort=12,
        batch_size=32,
        model={"name": "resnet8"},
        rounds=8,
        block=1,
        alpha=0.5,
        test_rows=1_600,
        epochs=5,
        systems=PERSONAL,
    ),
    "large": Workload(
        clients=4,
        rows=128,
        shape=(32, 32, 3),
        cohort=4,
        batch_size=32,
        model={"name": "resnet18"},
        rounds=6,
        block=1,
    ),
}


@dataclass(frozen=True)
class Arrays:
    """A workload's data in memory: pixels uint8 [N, C, H, W], labels int64 [N], rows of each client, and the
    standardisation x * scale + shift of a pixel, float32 [C, 1, 1].
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    clients: Ragged
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]


def prepare(workload: Workload, path: Path) -> None:
    """Write the data set in the form that FedLT reads, with the column `client` that deals it."""
    rng = np.random.default_rng(workload.seed)
    labels = np.sort(np.arange(workload.rows) % CLASSES)  # FedLT lists a client's rows class by class
    np.savez(
        path,
        x_train=rng.integers(0, 256, (workload.rows, *workload.shape), np.uint8),
        y_train=labels,
        client_train=_owner(workload, labels),
        x_test=rng.integers(0, 256, (workload.test_rows, *workload.shape), np.uint8),
        y_test=np.arange(workload.test_rows) % CLASSES,
    )


def read(workload: Workload, path: Path) -> Arrays:
    """The training data, with the rows that each client holds in FedLT."""
    with np.load(path) as content:
        images, labels, owner = content["x_train"], content["y_train"], content["client_train"]
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    counts = np.stack([np.bincount(pixels[:, c].ravel(), minlength=256) for c in range(pixels.shape[1])])
    values = np.arange(256) / 255
    mean = counts @ values / counts[0].sum()
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / counts[0].sum())
    scale, shift = 1 / (255 * std), -mean / std
    moments = [part.astype(np.float32).reshape(-1, 1, 1) for part in (scale, shift)]
    return Arrays(pixels, labels, Ragged.from_owner(owner, workload.clients), moments[0], moments[1])


def cohort(workload: Workload, round: int) -> list[int]:
    """The clients of a round (1-based), ascending: FedLT's draw."""
    rng = seeding.generator(workload.seed, "cohort", round)
    return sorted(rng.choice(workload.clients, workload.cohort, replace=False).tolist())


def planned(workload: Workload, arrays: Arrays, rounds: int) -> tuple[list[int], list[int]]:
    """Images and steps of each round, all clients together."""
    sizes = [arrays.clients.sizes[cohort(workload, round)] for round in range(1, rounds + 1)]
    images = [workload.epochs * int(part.sum()) for part in sizes]
    steps = [workload.epochs * int((-(-part // workload.batch_size)).sum()) for part in sizes]
    return images, steps


def build_model(workload: Workload) -> Net:
    """FedLT's network with FedLT's initial weights."""
    import torch

    from fedlt.config.catalog import find
    from fedlt.data.task import Task

    options = {key: value for key, value in workload.model.items() if key != "name"}
    recipe = find("model", workload.model["name"]).create(options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.integer(workload.seed, "model"))
        return recipe.build(Task("single", CLASSES, workload.input_shape, np.zeros(CLASSES, np.int64)))  # type: ignore[no-any-return]


def _owner(workload: Workload, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The client of each row, int64 [N]."""
    if workload.alpha is None:
        return np.arange(workload.rows) % workload.clients
    from fedlt.data.partitions.dealing import partition
    from fedlt.data.partitions.per_class import DirichletPerClass

    held = partition(DirichletPerClass(workload.alpha), labels, {}, workload.clients, workload.seed, "redraw")
    owner = np.empty(workload.rows, np.int64)
    owner[held.values] = np.repeat(np.arange(workload.clients), held.sizes)
    return owner
