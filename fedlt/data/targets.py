"""The labels of a data set, as one object: all that is dealt, drawn, counted or learnt by labels asks it.

**Which class a row follows.** The long tail, the partition, local tests, validation and samplers deal rows by class.
A row of several labels follows the rarest of them, as counted over the labels of the source's whole training set; of
equally rare ones, the first by number. So a tail class loses no row to a class that can spare it. The order is that in
which iterative stratification attends to labels, the one with the fewest examples first: Sechidis, Tsoumakas,
Vlahavas: On the Stratification of Multi-Label Data. ECML PKDD 2011.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences, pairs
from fedlt.data.kinds.single import Single
from fedlt.data.ragged import Ragged
from fedlt.errors import Problem, ScenarioError
from fedlt.target import Target

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Groups = Mapping[str, NDArray[np.int64]]
"""Named columns such as site or writer, int64 [N] each."""


@dataclass(frozen=True, eq=False)
class Targets:
    """The labels of N rows.

    Attributes:
        values: [N, ...] as their kind keeps them, such as int64 [N] class numbers.
        num_classes: C.
        kind: what they are.
        groups: group columns of the rows.
        frequency: int64 [C], how often each class occurs in the training set that says which labels are rare; None:
            these rows are that set.
    """

    values: NDArray[Any]
    num_classes: int
    kind: Target = field(default_factory=Single)
    groups: Groups = field(default_factory=dict)
    frequency: NDArray[np.int64] | None = None

    @classmethod
    def of_classes(cls, classes: NDArray[np.int64], num_classes: int | None = None) -> Self:
        """Targets of one class a row.

        Args:
            classes: int64 [N].
            num_classes: one more than the largest unless given.
        """
        return cls(classes, int(classes.max()) + 1 if num_classes is None else num_classes)

    def __len__(self) -> int:
        return len(self.values)

    def counts(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """How often each class occurs in these rows (all unless given), int64 [C]; a row counts for all its labels."""
        values = self.values if rows is None else self.values[rows]
        return occurrences(self.kind.labels(values)[1], self.num_classes)

    def table(self, clients: Ragged) -> NDArray[np.int64]:
        """How often each class occurs in the rows of each client, int64 [K, C]."""
        positions, classes = self.kind.labels(self.values[clients.values])
        return pairs(clients.owners()[positions], classes, (len(clients), self.num_classes))

    def bare_text(self) -> str:
        """What is to be said of rows without a label, as noise may leave them; "" where every row has one."""
        labelled = len(self) if self.kind.one_label else len(np.unique(self.kind.labels(self.values)[0]))
        bare = len(self) - labelled
        return f"{bare:,} of {len(self):,} samples have no label left, so that they follow no class" if bare else ""

    @cached_property
    def lead(self) -> NDArray[np.int64]:
        """The class that each row follows, int64 [N]: its rarest label; see the head of this file.

        Raises `ScenarioError` where a row has no label, as noise may leave it (`data.noise.kind=missing`).
        """
        if self.kind.one_label:
            return self.values
        if message := self.bare_text():
            remedy = "take a method that draws all samples alike, or remove data.noise"
            raise ScenarioError(Problem("data.noise", f"{message}; {remedy}"))
        positions, classes = self.kind.labels(self.values)
        frequency = self.counts() if self.frequency is None else self.frequency
        order = np.lexsort((classes, frequency[classes], positions))
        first = np.searchsorted(positions[order], np.arange(len(self)))
        return classes[order][first]

    def by_class(self, rows: NDArray[np.int64] | None = None) -> Ragged:
        """The rows (all unless given) that follow each class, C lists; within a class in the order given."""
        chosen = np.arange(len(self)) if rows is None else rows
        lead = self.lead[chosen]
        order = np.argsort(lead, kind="stable")
        return Ragged.of_sizes(chosen[order], occurrences(lead, self.num_classes))

    def led(self, clients: Ragged) -> NDArray[np.int64]:
        """How many of each client's rows follow each class, int64 [K, C]."""
        return clients.table(self.lead, self.num_classes)

    def select(self, rows: NDArray[np.int64]) -> Targets:
        """These rows alone, numbered anew; what is rare stays what it was."""
        frequency = self.counts() if self.frequency is None else self.frequency
        groups = {column: values[rows] for column, values in self.groups.items()}
        return replace(self, values=self.values[rows], groups=groups, frequency=frequency)

    def take(self, rows: NDArray[np.int64] | None = None, device: torch.device | str = "cpu") -> Tensor:
        """[n, ...] the targets of these rows (all unless given), as a model's losses get them."""
        import torch  # takes a second, and whoever deals rows needs none of it

        return torch.from_numpy(self.values if rows is None else self.values[rows]).to(device)
