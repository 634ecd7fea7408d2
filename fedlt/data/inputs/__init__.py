"""Inputs of any kind: images, rows of features, token sequences, sequences of measurements; features in their place.

`read` finds the kind of what a source holds and brings both splits to the form in which they are stored; from then on
the kind (`InputKind`) answers for all that is special about them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.inputs.encoded import EncodedKind
from fedlt.data.inputs.histories import HistoryKind
from fedlt.data.inputs.images import ImageKind
from fedlt.data.inputs.kind import Chosen, Given, InputKind, Inputs, StoredInputs
from fedlt.data.inputs.sequences import SequenceKind
from fedlt.data.inputs.tabular import TabularKind
from fedlt.data.inputs.texts import TextKind
from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.inputs.words import NumberedKind, WordKind

__all__ = ["Chosen", "Given", "InputKind", "Inputs", "StoredInputs", "described", "read", "restored", "shaped"]

KINDS: tuple[type[InputKind], ...] = (
    HistoryKind, ImageKind, TabularKind, NumberedKind, TextKind, TokenKind, SequenceKind, WordKind, EncodedKind,
)  # fmt: skip

EXPECTED = (
    "uint8 [N, H, W] or [N, H, W, C] images (0..255), float [N, F] feature rows, whole numbers [N, L] (token ids), or "
    "float [N, L, F] sequences with a mask [N, L] (of ones where all steps are real); gray images of other numbers "
    "than uint8 need an axis for their channel, as in x[..., None], and texts [N] need data.tokenizer=hashing"
)


def read(name: str, train: Given, test: Given) -> tuple[InputKind, NDArray[Any], NDArray[Any]]:
    """The kind of a data set's inputs, and both splits as they are stored.

    Args:
        name: of the data set, for messages.
        train: its inputs as the source has them; the kind is fitted to them.
        test: likewise.

    Raises:
        ScenarioError: for splits of two kinds or types, and for what the kind refuses.
    """
    if _type_of(train) != _type_of(test) or _kind_of(name, train) is not _kind_of(name, test):
        types = " and ".join(
            f"{given.x.dtype} {list(given.x.shape)} ({split})" for given, split in ((train, "training"), (test, "test"))
        )
        raise refuse(f"{name}: the inputs are of two kinds, {types}; store both splits as one type")
    return _kind_of(name, train).read(name, train, test)


def described(kind: InputKind) -> dict[str, Any]:
    """A kind as JSON has it, without its arrays."""
    return {"kind": kind.name, **kind.meta()}


def restored(description: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> InputKind:
    """The kind of inputs that a cache entry holds.

    Args:
        description: what its `meta` gave, and its name as `kind`.
        arrays: what its `arrays` gave, by name.
    """
    meta = dict(description)
    name = meta.pop("kind")
    return next(kind for kind in KINDS if kind.name == name).restored(meta, arrays)


def shaped(shape: tuple[int, ...]) -> InputKind:
    """The kind that a sample's shape suggests, with moments that change nothing: (C, H, W), (F,) or (L, F)."""
    if len(shape) == 3:
        return ImageKind((shape[0], shape[1], shape[2]), np.zeros(shape[0], np.float32), np.ones(shape[0], np.float32))
    mean, std = np.zeros(shape[-1], np.float32), np.ones(shape[-1], np.float32)
    return TabularKind(mean, std) if len(shape) == 1 else SequenceKind(shape[0], mean, std)


def _type_of(given: Given) -> str:
    """What the values are, whatever their precision: images are of bytes, tokens of other whole numbers."""
    dtype = given.x.dtype
    return "byte" if dtype == np.uint8 else {"u": "whole", "i": "whole"}.get(dtype.kind, dtype.kind)


def _kind_of(name: str, given: Given) -> type[InputKind]:
    """The first kind that fits the arrays.

    Raises:
        ScenarioError: where none does.
    """
    x = given.x
    for kind in KINDS:
        if kind.fits(given):
            return kind
    if given.mask is not None and any(kind.fits(Given(x)) for kind in KINDS):
        what = f"a mask is for token ids [N, L] and sequences [N, L, F], and the inputs are {x.dtype} {list(x.shape)}"
        raise refuse(f"{name}: {what}; remove the mask")
    raise refuse(f"{name}: expected inputs as {EXPECTED}, got {x.dtype} {list(x.shape)}")
