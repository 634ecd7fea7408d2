"""What is known of items: the categories of each, in one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOTHING = -1
"""What stands in a catalogue where an item has no further value."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """What is known of the V items.

    Attributes:
        fields: names of the F categories; the first is the item itself.
        starts: [F + 1]; the values of field f stand in the columns starts[f]..starts[f + 1] - 1.
        codes: int32 [V, M] numbers of values, no two fields sharing one; `NOTHING` behind an item's last of a field.
        told: what was left out when it was made, as sentences.
        asked: whether a row's first item is none of its history but the one that is asked about.
    """

    fields: tuple[str, ...]
    starts: tuple[int, ...]
    codes: NDArray[np.int32]
    told: tuple[str, ...] = ()
    asked: bool = False

    @property
    def values(self) -> int:
        """Number of different values of all fields, those of the first included."""
        return int(self.codes.max()) + 1
