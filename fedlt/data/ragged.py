"""Rows of different lengths in two flat arrays, so that 100,000 clients cost no Python object each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences, pairs


@dataclass(frozen=True, eq=False)
class Ragged:
    """Row k is `values[offsets[k]:offsets[k + 1]]`.

    Attributes:
        values: int64 [N], all rows end to end.
        offsets: int64 [K + 1], starting at 0 and ending at N.
    """

    values: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def from_owner(cls, owner: NDArray[np.int64], groups: int) -> Ragged:
        """Positions 0..N-1 gathered by owner, ascending within each row.

        Args:
            owner: int64 [N], the row (0..groups-1) that each position belongs to.

        Raises:
            ValueError: beyond that range.
        """
        if len(owner) and not 0 <= int(owner.min()) <= int(owner.max()) < groups:
            raise ValueError(f"owners must lie in 0..{groups - 1}, got {owner.min()}..{owner.max()}")
        values = np.argsort(owner, kind="stable").astype(np.int64)
        return cls(values, _offsets(occurrences(owner, groups)))

    @classmethod
    def from_rows(cls, rows: Sequence[NDArray[np.int64]]) -> Ragged:
        """The given rows, one after the other."""
        values = np.concatenate([np.zeros(0, np.int64), *rows]).astype(np.int64)
        return cls(values, _offsets(np.fromiter(map(len, rows), np.int64, len(rows))))

    @classmethod
    def of_sizes(cls, values: NDArray[np.int64], sizes: NDArray[np.int64]) -> Ragged:
        """Rows that stand end to end in one array.

        Args:
            values: [sum of the sizes].
            sizes: [K] of the rows; 0 is an empty one.
        """
        return cls(values, _offsets(sizes))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int64]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return (self[row] for row in range(len(self)))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Length of each row, int64 [K]."""
        return np.diff(self.offsets)

    def lengths(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """Length of each of these rows, int64 [len(rows)]."""
        index = np.asarray(rows, np.int64)
        return self.offsets[index + 1] - self.offsets[index]

    def split(self, row: int) -> tuple[Ragged, Ragged]:
        """The rows before `row`, and the others."""
        place = self.offsets[row]
        head = Ragged(self.values[:place], self.offsets[: row + 1])
        return head, Ragged(self.values[place:], self.offsets[row:] - place)

    def emptied(self, rows: Sequence[int]) -> Ragged:
        """As many rows, of which these hold nothing."""
        sizes = self.sizes
        sizes[np.asarray(rows, np.int64)] = 0
        return Ragged.of_sizes(self.values[~np.isin(self.owners(), rows)], sizes)

    def owners(self) -> NDArray[np.int64]:
        """The row that each value belongs to, int64 [N]."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def table(self, classes: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
        """How often each class occurs in each row, where values are samples.

        Args:
            classes: int64, the class of value v at place v.
            num_classes: C.

        Returns:
            int64 [K, C].
        """
        return pairs(self.owners(), classes[self.values], (len(self), num_classes))


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
