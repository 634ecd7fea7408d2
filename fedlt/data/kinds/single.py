"""One class a sample: what classification means unless it says more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import as_texts, coded, held_as, ordered, refuse, refuse_beyond
from fedlt.target import Read, Target

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Single(Target):
    """int64 [N] class numbers 0..C-1; texts are coded in alphabetical order, in which numbers count as numbers.

    Also read are class numbers 1..C, whose names stay 1..C, and rows of zeros with a single one (one-hot).
    """

    one_label: ClassVar[bool] = True

    def read(self, name: str, train: NDArray[Any], test: NDArray[Any], class_names: Sequence[str]) -> Read:
        """Whole numbers or texts, one a row."""
        train, test = (_positions(y) for y in (train, test))
        for split, y in (("training", train), ("test", test)):
            if y.ndim != 1:
                raise refuse(f"{name}: {split} labels must be one number per row, got shape {list(y.shape)}")

        if train.dtype.kind in "UO" or test.dtype.kind in "UO":
            class_names = self.text_order(name, as_texts(name, "the labels", train))
            train, test = coded(name, "the labels", train, class_names), coded(name, "labels", test, class_names)

        if train.dtype.kind not in "iu" or test.dtype.kind not in "iu":
            split, y = ("training", train) if train.dtype.kind not in "iu" else ("test", test)
            raise refuse(f"{name}: labels must be whole numbers or texts, but those of the {split} set {held_as(y)}")

        train, test = train.astype(np.int64), test.astype(np.int64)
        train, test, class_names = _from_zero(train, test, class_names)
        if not len(class_names) and train.max() >= len(train):
            sizes = f"the label {train.max()} among {len(train)} training samples"
            raise refuse(f"{name}: {sizes} leaves classes without any; renumber the classes to 0..C-1 without gaps")

        classes = len(class_names) or int(train.max()) + 1
        for split, y in (("training", train), ("test", test)):
            refuse_beyond(name, split, y, classes, len(class_names))
        return Read(train, test, tuple(map(str, class_names)) or tuple(map(str, range(classes))))

    def text_order(self, name: str, texts: NDArray[np.str_]) -> Sequence[str]:
        """The classes of texts [N], in the order of their numbers."""
        return ordered(texts)

    def labels(self, values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """One a row."""
        return np.arange(len(values)), values

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Mean negative log-likelihood of the softmax."""
        from torch.nn import functional as F  # takes a second, and whoever reads labels needs none of it

        return F.cross_entropy(logits, y)


def _positions(y: NDArray[Any]) -> NDArray[Any]:
    """Of one-hot rows [N, C] the place of the one, [N]; all else as it is."""
    if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "biuf":
        return y
    hot = y == 1
    one_hot = bool((hot | (y == 0)).all() and (hot.sum(axis=1) == 1).all())
    return hot.argmax(axis=1) if one_hot else y


def _from_zero(
    train: NDArray[np.int64], test: NDArray[np.int64], class_names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Sequence[str]]:
    """Labels that number C classes from 1, numbered from 0; a gap elsewhere, or a class 0, leaves them as they are."""
    last = int(max(train.max(), test.max()))
    if min(train.min(), test.min()) != 1 or (len(class_names) or last) != last:
        return train, test, class_names
    if not len(class_names) and last <= len(train):
        every = bool((np.bincount(train, minlength=last + 1)[1:] > 0).all())
        class_names = [str(number) for number in range(1, last + 1)] if every else []
    return (train - 1, test - 1, class_names) if len(class_names) else (train, test, class_names)
