"""Whether an item is liked: one of two classes, measured by how liked ones are ranked before the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fedlt.data.kinds.single import Single


@dataclass(frozen=True)
class Liked(Single):
    """int64 [N], 1 where the item is liked and 0 where it is not."""

    short: Annotated[int, ">= 1"] = 5  # items of a history that counts as short, at most
