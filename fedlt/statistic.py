"""The contract of statistics: what an evaluation measures, beside or in place of what is built in.

A statistic is made empty for a task and a model, is given every batch of that model's predictions, and is merged with
what other workers have seen. Its figures stand in the table of metrics, in `run.final`, in comparisons and trackers. A
file of one's own, named by `evaluation.metrics: [./mine.py:TailError]`:

    @dataclass
    class TailError(Statistic):
        below: int = 20  # fields are keys: evaluation.metrics: [{name: ./mine.py:TailError, below: 5}]

        def start(self):
            self.wrong, self.seen = (np.zeros(self.task.num_classes, np.int64) for _ in range(2))

        def add(self, batch):
            y = batch.targets.numpy(force=True)
            np.add.at(self.seen, y, 1)
            np.add.at(self.wrong, y, batch.logits.argmax(1).numpy(force=True) != y)

        def merge(self, other):
            self.wrong += other.wrong
            self.seen += other.seen

        def to_arrays(self):
            return {"wrong": self.wrong, "seen": self.seen}

        def figures(self, known):
            tail = known.class_counts < self.below
            return {"tail_error": float(self.wrong[tail].sum() / self.seen[tail].sum())}

What is only a sum of floats, with figures that follow from it, is a `Metric`: two methods.

Results must have equal bits however the batches are dealt to workers. Integers add up exactly; of floats keep the sums
of each batch apart, by its first row, and add them in the order of the rows (`fedlt.measures.sums.Pieces`).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from fedlt.data.groups import Grouping
    from fedlt.data.inputs.features import Features
    from fedlt.data.task import Task
    from fedlt.learner import Prediction
    from fedlt.measures.figure import Figure

Arrays = dict[str, Any]
"""NumPy's arrays of one or more axes, by name."""

Columns = Mapping[str, Any]
"""Columns of a table: arrays or lists of one length, and single values that hold for all rows."""

VALIDATION = "validation/"
"""What names of figures on validation data begin with."""

ALL = "*"
"""The variant of a model that stands for all of them: what they share."""

NOBODY = -1
"""The client of predictions that are the generic model's."""


@dataclass(frozen=True)
class Subject:
    """The model that a statistic is of.

    Attributes:
        kind: `generic`, on the global set; `personal`, each client's on its own rows; `personal_masked`, the same
            without the classes that the client never saw in training.
        variant: "" is the headline.
        validation: whether it is tested on the validation set instead of the test set.
    """

    kind: str
    variant: str = ""
    validation: bool = False

    @property
    def name(self) -> str:
        """Its name in metrics and tables: `generic`, `personal_masked[psi]`."""
        return self.kind if self.variant in ("", ALL) else f"{self.kind}[{self.variant}]"

    @property
    def full_name(self) -> str:
        """What its figures begin with: `generic`, `validation/personal[psi]`."""
        return f"{VALIDATION if self.validation else ''}{self.name}"

    @property
    def key(self) -> str:
        """Its name in messages, such as `validation/personal:psi`."""
        return f"{VALIDATION if self.validation else ''}{self.kind}:{self.variant}"

    @classmethod
    def parse(cls, key: str) -> Subject:
        """Inverse of `key`."""
        kind, _, variant = key.removeprefix(VALIDATION).partition(":")
        return cls(kind, variant, key.startswith(VALIDATION))


@dataclass(frozen=True)
class Predicted:
    """A batch of one model's predictions.

    Attributes:
        found: what the model says: `logits` [B, C] and, where it says more, `uncertainty` and `extra`.
        targets: [B] classes or whatever the task's kind has, such as [B, C] of 0 and 1.
        rows: [B] their numbers in the set, ascending.
        client: whose personal model it is; `NOBODY` for the generic one.
        x: the samples, whose inputs `x.inputs()` gives; None where they are not at hand.
    """

    found: Prediction
    targets: Tensor
    rows: Tensor
    client: int = NOBODY
    x: Features | None = None

    @property
    def logits(self) -> Tensor:
        """[B, C]; a class that a masked model must not predict has -inf."""
        return self.found.logits


@dataclass(frozen=True)
class FeatureBatch:
    """Features of a part of the global test set under the generic model's backbone.

    Attributes:
        features: [N, D] float64.
        targets, rows: [N], as in `Predicted`.
        clients: ids, ascending.
        held: for each of them the positions in 0..N-1 of its own test rows.
    """

    features: Tensor
    targets: Tensor
    rows: Tensor
    clients: Sequence[int] = ()
    held: Sequence[NDArray[np.int64]] = ()


def _usual_groups() -> Grouping:
    from fedlt.data.groups import Grouping  # brings NumPy, which explaining a figure does without

    return Grouping()


@dataclass(frozen=True)
class Known:
    """What figures may be set against.

    Attributes:
        class_names: [C].
        class_counts: [C] training samples over all clients.
        mass_counts: [C] the clients' local test sets summed.
        test_counts: [C] of the global test set.
        client_counts: client -> [C] its training samples.
        train_samples, test_samples: [K] of each client.
        head: [C, D] rows of the generic model's head; None where it is private or has no such rows.
        tests: rows of the global test set that each client is tested on.
        told: gets a line for each figure that cannot be computed.
        grouping: the rule by which classes are head, medium and tail for the generic model.
    """

    class_names: Sequence[str]
    class_counts: NDArray[np.int64]
    mass_counts: NDArray[np.int64]
    test_counts: NDArray[np.int64]
    client_counts: Callable[[int], NDArray[np.int64]]
    train_samples: NDArray[np.int64]
    test_samples: NDArray[np.int64]
    head: NDArray[np.float64] | None = None
    tests: Rows | None = None
    told: list[str] = field(default_factory=list)
    grouping: Grouping = field(default_factory=_usual_groups)

    @property
    def groups(self) -> NDArray[np.int8]:
        """int8 [C]: 0, 1 and 2 for head, medium and tail classes, as `evaluation.groups` has them."""
        return self.grouping(self.class_counts)


class Rows(Protocol):
    """Rows of each client: `values[offsets[k] : offsets[k + 1]]`."""

    @property
    def values(self) -> NDArray[np.int64]: ...
    @property
    def offsets(self) -> NDArray[np.int64]: ...


class Statistic(ABC):
    """What is measured of one model. Fields of a dataclass are its keys; what it has seen are plain attributes.

    Attributes:
        task, subject: what it is of; set before `start`.
    """

    title: ClassVar[str] = ""  # what lines in the log call it; its class's name unless given
    reads_features: ClassVar[bool] = False  # True: `add` is given a `FeatureBatch` of the generic backbone instead
    task: Task
    subject: Subject

    def empty(self, task: Task, subject: Subject) -> Self:
        """One of the same kind, with the same fields, that has seen nothing."""
        copied = copy.copy(self)
        copied.task, copied.subject = task, subject
        copied.start()
        return copied

    def measures(self, subject: Subject) -> bool:
        """Whether it is taken of such a model; of all unless overridden."""
        return True

    @abstractmethod
    def start(self) -> None:
        """Set what it keeps to what it is before anything was added."""

    @abstractmethod
    def add(self, batch: Any) -> None:
        """Take in a `Predicted` batch (`FeatureBatch` for statistics of features). Batches come in no order."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in what another one has seen: the same result in any order and grouping."""

    @abstractmethod
    def to_arrays(self) -> Arrays:
        """All that it has seen, for messages: arrays whose types and shapes but the first axis no model changes."""

    def from_arrays(self, arrays: Arrays) -> None:
        """Inverse of `to_arrays`, into one that has seen nothing. Sets attributes of these names unless overridden."""
        for name, value in arrays.items():
            setattr(self, name, value)

    def forget(self, clients: Collection[int]) -> None:  # noqa: B027  # most keep no client apart
        """Leave out clients whose evaluation failed in part, where they are kept apart."""

    @abstractmethod
    def figures(self, known: Known) -> dict[str, float]:
        """Metrics by name; NaN where one is not defined."""

    def describe(self) -> Sequence[Figure]:
        """What tables, pictures and `fedlt explain` tell of the figures, under the names that `figures` gives them.

        Those of statistics that come along are in `fedlt.measures.figures`. A figure without a record is called by its
        name, and is shown in per cent where all its values allow it.
        """
        return ()

    def rows(self, known: Known) -> dict[str, Columns]:
        """Columns of tables (`fedlt.results.tables`) by the table's name.

        Those of `classes` and `calibration` belong to the model, with one row a class or bin. Those of `clients` have a
        column `client` and belong to the variant. The first statistic of a table says which rows it has; a column that
        no other statistic has is added to it as numbers.
        """
        return {}


class Metric(ABC):
    """The short form of a statistic: sums over the samples of one model, and figures that follow from them.

    A frozen dataclass whose fields are its keys. Each client's personal model has sums of its own, and a figure of
    personal models is the mean over the clients for whom it is defined.
    """

    @abstractmethod
    def sums(self, logits: Tensor, y: Tensor, task: Task) -> dict[str, Tensor]:
        """What is added up over batches, by name: numbers or tensors whose shape no batch changes.

        Sums are taken in float64.

        Args:
            logits: [B, C]; a class that a masked model must not predict has -inf.
            y: [B] classes, or what the task's kind has.
            task: see `fedlt.Task`.
        """

    @abstractmethod
    def figures(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """Figures by name, of the sums over all samples of one model. NaN where one is not defined."""

    def describe(self) -> Sequence[Figure]:
        """As `Statistic.describe`."""
        return ()
