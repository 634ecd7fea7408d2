"""Token sequences: stored as int32 [N, L], given to methods as int64 [B, L], in which -1 is padding.

The mask rides with the ids, so that strategies and losses pass `batch.x` alone. An encoder reads ids in
0..vocabulary-1, cut to the longest sequence of the batch, and the mask [B, L] (True: a token).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.inputs.kind import Given, InputKind, StoredInputs, tensor_of
from fedlt.data.inputs.masked import checked_mask, fitted, longest, resized, used_length
from fedlt.errors import FedLTError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PADDING = -1
LARGEST_VOCABULARY = 2**24
"""Ids beyond it are hardly tokens: a table of embeddings would have as many rows."""


@dataclass(frozen=True, eq=False)
class TokenKind(InputKind):
    """Sequences of token ids.

    Attributes:
        vocabulary: number of different tokens, V; ids are 0..V-1.
        length: of the longest sequence, L.
        shorter: whether there are shorter ones.
    """

    name: ClassVar[str] = "tokens"
    title: ClassVar[str] = "token sequences"
    remedy: ClassVar[str] = "use model=hash_bag, or another one of token ids (fedlt ls models)"

    vocabulary: int
    length: int
    shorter: bool = False

    @classmethod
    def fits(cls, given: Given) -> bool:
        return given.x.ndim == 2 and given.x.dtype.kind in "iu" and given.x.dtype != np.uint8

    @classmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[TokenKind, NDArray[Any], NDArray[Any]]:
        """Token ids of both splits, whose vocabulary is that of the training set."""
        splits = {"training": train, "test": test}
        masks = [checked_mask(name, split, given) for split, given in splits.items()]
        for (split, given), mask in zip(splits.items(), masks, strict=True):
            _refuse_negative(name, split, given.x, mask)
        size = cls._vocabulary(name, train, masks[0])
        _refuse_unknown(name, test.x, masks[1], size)

        length = used_length(*masks)
        x_train, x_test = (
            resized(np.where(mask, given.x, PADDING).astype(np.int32), length, PADDING)
            for given, mask in zip((train, test), masks, strict=True)
        )
        shorter = bool((x_train == PADDING).any() or (x_test == PADDING).any())
        return cls(size, length, shorter), x_train, x_test

    @staticmethod
    def _vocabulary(name: str, train: Given, mask: NDArray[np.bool_]) -> int:
        """Number of tokens: as the source says it, else up to the largest id of the training set."""
        seen = int(train.x[mask].max()) + 1
        size = seen if train.vocabulary is None else train.vocabulary
        if seen > size:
            raise refuse(f"{name}: the training set has the token id {seen - 1}, beyond the vocabulary of {size}")
        if size > LARGEST_VOCABULARY:
            what = f"whole numbers up to {size - 1} are too large for token ids"
            raise refuse(f"{name}: {what}; store features as decimal numbers (float32), or renumber the tokens")
        return size

    def meta(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary, "length": self.length, "shorter": self.shorter}

    def stored(self, given: Given) -> NDArray[Any]:
        """Token ids as int32 [N, L], -1 for padding."""
        expected = f"expected token ids [N, {self.length}], whole numbers in 0..{self.vocabulary - 1}"
        if given.x.ndim != 2 or given.x.dtype.kind not in "iu" or given.categories is not None:
            raise FedLTError(f"{expected}, got {given.x.dtype} {list(given.x.shape)}")
        mask = checked_mask("the new samples", "given", given)
        ids = given.x[mask]
        if ids.min() < 0 or ids.max() >= self.vocabulary:
            raise FedLTError(f"{expected}, got {ids.min()}..{ids.max()}; a mask [N, L] says what is padding")
        x = np.where(mask, given.x, PADDING).astype(np.int32)
        return fitted(x, mask, self.length, self.shorter, PADDING)

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    def open(self, array: NDArray[Any], device: Any) -> StoredInputs:
        return Tokens(self, tensor_of(array, device))

    def example(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """The first sample is as long as any; the others have one token where sequences differ in length."""
        import torch

        shape = (count, self.length)
        if generator is not None:
            return torch.randint(self.vocabulary, shape, generator=generator)
        x = torch.zeros(shape, dtype=torch.int64)
        if self.shorter:
            x[1:, 1:] = PADDING
        return x

    def stored_example(self, count: int) -> Tensor:
        import torch

        return torch.zeros(count, self.length, dtype=torch.int32)

    @property
    def padded(self) -> bool:
        return self.shorter

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids without negative ones, and which are real; no longer than the longest of the batch."""
        mask = x >= 0
        if not self.shorter:
            return x, mask
        length = longest(mask)
        return x[:, :length].clamp(min=0), mask[:, :length]


class Tokens:
    """int32 ids [N, L], -1 where a sequence has ended."""

    def __init__(self, kind: TokenKind, ids: Tensor) -> None:
        self.ids, self._kind = ids, kind

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Tensor:
        if reason := self._kind.obstacle(augment):
            raise ValueError(f"local.augment={reason}")
        return self.ready(self.ids[rows])

    def ready(self, stored: Tensor) -> Tensor:
        return stored.long()


def _refuse_negative(name: str, split: str, x: NDArray[Any], mask: NDArray[np.bool_]) -> None:
    """Refuse token ids below 0 that are no padding."""
    rows = np.flatnonzero(((x < 0) & mask).any(axis=1))
    if len(rows):
        least = int(x[rows[0]][mask[rows[0]]].min())
        remedy = "say in a mask [N, L] which are tokens (mask_train, mask_test; 1: a token, 0: padding)"
        raise refuse(f"{name}: token ids must be 0 or more, got {least} in row {rows[0]} of the {split} set; {remedy}")


def _refuse_unknown(name: str, x: NDArray[Any], mask: NDArray[np.bool_], vocabulary: int) -> None:
    """Refuse token ids of the test set beyond the vocabulary."""
    largest = int(x[mask].max())
    if largest >= vocabulary:
        what = f"the test set has the token id {largest}, beyond the vocabulary of {vocabulary}"
        remedy = "give unknown words an id of the training set, or state the number of tokens as `vocabulary`"
        raise refuse(f"{name}: {what}; {remedy}")
