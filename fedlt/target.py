"""The contract of targets: what the labels of a data set are, for everything that deals, trains and tests by them.

A kind of targets is one frozen dataclass in a file, and its fields are its keys. Those that come along stand in
`fedlt/data/kinds`; `data.targets` names another than the one that the data suggest, or one of one's own:

    data.targets=ordinal
    data.targets=./mine.py:Ratings

It says which classes a row holds. All else follows from that: how often a class occurs, which class a row follows
where rows are dealt by class (`fedlt.data.targets.Targets.lead`), and what a client has seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Read:
    """Labels as a kind keeps them.

    Attributes:
        train, test: one entry a row, [N, ...], whole numbers.
        class_names: C names.
    """

    train: NDArray[Any]
    test: NDArray[Any]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Target(ABC):
    """A kind of targets."""

    one_label: ClassVar[bool] = False  # True: a row has exactly one class, and targets are [N] class numbers
    unknown: ClassVar[int] = -1  # what stands in the place of a target that nobody knows
    axes: ClassVar[int] = 0  # of predictions between samples and classes: logits are [B, C], or [B, L, C] with one

    @property
    def name(self) -> str:
        """What messages call it: its class's name in small letters."""
        return type(self).__name__.lower()

    @abstractmethod
    def read(self, name: str, train: NDArray[Any], test: NDArray[Any], class_names: Sequence[str]) -> Read:
        """The labels of a source, checked and brought to the form that is kept.

        Args:
            name: what messages call the data set.
            train: as the source has them, one entry a row.
            test: likewise.
            class_names: as the source names them; empty where it does not.

        Raises `ScenarioError` (`fedlt.data.coding.refuse`) for labels that are none of this kind, with the remedy.
        That each row has a label, and each class a training row, is checked afterwards for every kind.
        """

    @abstractmethod
    def labels(self, values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every label that the rows have: positions [M] of the rows, ascending, and classes [M].

        Unknown entries are no labels.

        Args:
            values: [n, ...] as `read` gives them.
        """

    @abstractmethod
    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Scalar loss of `learner=cross_entropy`.

        Args:
            logits: [B, ..., C].
            y: [B, ...] targets of the batch.
        """
