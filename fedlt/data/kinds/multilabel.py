"""Any number of classes a sample, of which some may be unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import as_lists, list_classes, refuse
from fedlt.target import Read, Target

if TYPE_CHECKING:
    from torch import Tensor

KEY = "data.targets"


@dataclass(frozen=True)
class MultiLabel(Target):
    """int8 [N, C]: 1 where a class holds, 0 where it does not, -1 where nobody knows."""

    def read(self, name: str, train: NDArray[Any], test: NDArray[Any], class_names: Sequence[str]) -> Read:
        """Matrices of 0, 1 and -1 (or, of decimal numbers, NaN), or a list of classes for each row."""
        lists = [as_lists(y) for y in (train, test)]
        if lists[0] is not None and lists[1] is not None:
            codes, names = list_classes(name, lists[0], lists[1], class_names)
            first, second = (_multi_hot(part, len(names)) for part in codes)
            return Read(first, second, names)

        known = []
        for split, y in (("training", train), ("test", test)):
            if y.ndim != 2 or y.dtype.kind not in "biuf":
                expected = "a column of 0 and 1 for each class, or a list of classes for each row"
                given = f"the {split} labels are {y.dtype} {list(y.shape)}"
                raise refuse(f"{name}: multilabel needs {expected}; {given}", KEY)
            values = np.where(np.isnan(y), -1, y) if y.dtype.kind == "f" else y
            odd = values[~np.isin(values, (-1, 0, 1))]
            if len(odd):
                raise refuse(f"{name}: {split} labels must be 0, 1 or -1 (unknown), got {odd[0]:g}; mend them", KEY)
            known.append(values.astype(np.int8))

        classes = len(class_names) or train.shape[1]
        if not train.shape[1] == test.shape[1] == classes:
            widths = f"{train.shape[1]} (training), {test.shape[1]} (test) and {classes} names"
            raise refuse(f"{name}: labels must have one column for each class, got {widths}", KEY)
        return Read(known[0], known[1], tuple(map(str, class_names)) or tuple(map(str, range(classes))))

    def labels(self, values: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The ones."""
        rows, classes = np.nonzero(values == 1)
        return rows, classes

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Mean binary cross-entropy of the entries that are known."""
        from torch.nn import functional as F  # takes a second, and whoever reads labels needs none of it

        known = (y >= 0).to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(logits, y.clamp(min=0).to(logits.dtype), reduction="none")
        return (each * known).sum() / known.sum().clamp(min=1)


def _multi_hot(lists: Sequence[Sequence[int]], classes: int) -> NDArray[np.int8]:
    hot = np.zeros((len(lists), classes), np.int8)
    for row, held in zip(hot, lists, strict=True):
        row[np.asarray(held, np.int64)] = 1
    return hot
