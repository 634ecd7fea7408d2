"""What is measured on a GPU, the most telling first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.workloads import WORKLOADS, Workload

NAMES = ("tiny", "cifar-cnn", "cifar-resnet8", "cifar-resnet18")
SYSTEMS = ("bare", "fedlt-inline", "fedlt-processes", "fedlt-ray")
PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Case:
    """One row of the table.

    workload: of `benchmarks.workloads`. system: bare, or FedLT in this process, in forked ones or on Ray. precision:
    float32 (without TF32), tf32 (matrix products and convolutions in it), or bfloat16. workers: on the one GPU.
    together: clients in one batched step (`local.together`); where there are several, all clients hold equally many
    images. turn: 2 for a second measurement of the same.
    """

    workload: str
    system: str = "fedlt-inline"
    precision: str = "float32"
    workers: int = 1
    together: int = 1
    turn: int = 1

    def __str__(self) -> str:
        parts = [self.workload, self.system, self.precision, f"{self.workers} workers"]
        parts += [f"{self.together} together"] if self.together > 1 else []
        return ", ".join(parts + ["again"] * (self.turn > 1))

    @property
    def profiled(self) -> bool:
        """Whether its waits for the GPU are counted: where all is computed in one process."""
        return self.system in ("bare", "fedlt-inline")

    @property
    def same_bits(self) -> tuple[str, str, int]:
        """Cases for which this is equal are promised the same model, whatever the system of FedLT."""
        return self.workload, self.precision, self.together

    def task(self, dry: bool = False) -> Workload:
        """The workload as this case has it. dry: cut down to a handful of images."""
        task = WORKLOADS[self.workload]
        if dry:
            channels = task.shape[2]
            task = replace(task, clients=4, rows=24, shape=(8, 8, channels), cohort=2, batch_size=3, block=2)
            task = replace(task, alpha=None, test_rows=10, warmup=1, rounds=3)
        if self.together > 1:
            task = replace(task, alpha=None, block=self.together if not dry else 2)
        return task


def plan() -> Iterator[Case]:
    """All cases, the most telling first, since time may run out."""
    yield from _main_cases()
    yield from _precisions()
    yield from _workers()


def _main_cases() -> Iterator[Case]:
    """Each workload bare, by FedLT in one process and by four workers; then what holds results against each other."""
    for name in NAMES:
        yield Case(name, "bare")
        yield Case(name)
    for name in NAMES:
        yield Case(name, "fedlt-ray", workers=4)
    yield Case("tiny", "fedlt-ray", workers=2)  # the same model as one worker gives?
    yield Case("tiny", turn=2)  # and does the GPU repeat itself at all?
    yield Case("tiny", "fedlt-processes", workers=2)  # forks cannot use a GPU: the row has the reason
    yield Case("tiny", together=5)
    yield Case("cifar-cnn", together=10)


def _precisions() -> Iterator[Case]:
    """Every workload in the other precisions."""
    for precision in ("bfloat16", "tf32"):
        for name in reversed(NAMES):
            yield Case(name, "bare", precision)
            yield Case(name, "fedlt-inline", precision)
    for name in reversed(NAMES):
        yield Case(name, "fedlt-ray", "bfloat16", workers=4)


def _workers() -> Iterator[Case]:
    """Other numbers of workers, of turns and of clients trained together, and what is refused."""
    for name in NAMES[1:]:
        yield Case(name, "fedlt-ray", workers=2)
        yield Case(name, turn=2)

    yield Case("tiny", together=20)
    yield Case("tiny", "fedlt-inline", "bfloat16", together=5)
    for precision in PRECISIONS[1:]:
        for name in reversed(NAMES):
            yield Case(name, "fedlt-ray", precision, workers=2)
    for name in NAMES:
        yield Case(name, "fedlt-ray", workers=1)
    for name in NAMES[2:]:  # batch normalisation: the row has the reason
        yield Case(name, together=10)
