"""Histories of items: token sequences whose tokens are items, of which a catalogue says more than their number.

Item c is token c and, where it can be recommended, class c. The catalogue's categories (genres, authors) are what a
model knows of items that few have taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.inputs.catalogue import Catalogue
from fedlt.data.inputs.kind import Given, tensor_of
from fedlt.data.inputs.tokens import TokenKind

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class HistoryKind(TokenKind):
    """Sequences of items.

    Attributes:
        fields, starts, codes, told, asked: those of the catalogue.
    """

    name: ClassVar[str] = "histories"
    title: ClassVar[str] = "histories of items"
    remedy: ClassVar[str] = "use model=two_towers, or one of token ids such as hash_bag"

    fields: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()
    codes: NDArray[np.int32] = None  # type: ignore[assignment]
    told: tuple[str, ...] = ()
    asked: bool = False

    @classmethod
    def fits(cls, given: Given) -> bool:
        return given.catalogue is not None

    @classmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[HistoryKind, NDArray[Any], NDArray[Any]]:
        """Histories of both splits, and the catalogue of the training set."""
        assert train.catalogue is not None
        tokens, x_train, x_test = TokenKind.read(name, train, test)
        parts: dict[str, Any] = {**vars(tokens), **vars(train.catalogue)}
        return cls(**parts), x_train, x_test

    @classmethod
    def restored(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> HistoryKind:
        lists = {name: tuple(meta[name]) for name in ("fields", "starts", "told")}
        parts: dict[str, Any] = {**meta, **lists, **arrays}
        return cls(**parts)

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "fields": self.fields, "starts": self.starts, "told": self.told, "asked": self.asked}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"codes": self.codes}

    def remarks(self) -> list[str]:
        """How many items there are, and what was left out."""
        kinds = ", ".join(self.fields[1:]) or "nothing but their numbers"
        return [f"{len(self.codes)} items, of which is known: {kinds}", *self.told]

    @property
    def catalogue(self) -> Catalogue:
        """What is known of the items."""
        return Catalogue(self.fields, self.starts, self.codes)


@lru_cache(maxsize=8)
def codes_on(kind: HistoryKind, device: Any) -> Tensor:
    """int64 [V, M] the catalogue's codes on a device; they are no buffer of a model, which would travel every round."""
    return tensor_of(np.ascontiguousarray(kind.codes), device).long()
