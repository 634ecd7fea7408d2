"""One item a sample, of many of which the first few are looked at: what comes next in a history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fedlt.data.kinds.single import Single


@dataclass(frozen=True)
class Items(Single):
    """int64 [N] class numbers 0..C-1, an item each; measured by ranks, not by the first item alone."""

    at: Annotated[int, ">= 1"] = 20  # items that are shown to a user: K of recall and NDCG
    short: Annotated[int, ">= 1"] = 5  # items of a history that counts as short, at most
    repeats: bool = False  # whether items of the history are shown, too
