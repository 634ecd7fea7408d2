"""A class for each token of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import as_lists, list_classes, refuse, refuse_beyond
from fedlt.target import Read, Target

if TYPE_CHECKING:
    from torch import Tensor

KEY = "data.targets"
PADDING = -100
"""What stands where there is no token, or one whose tag does not count."""


@dataclass(frozen=True)
class Tags(Target):
    """int64 [N, L]: the class of each token, and -100 where there is none."""

    unknown: ClassVar[int] = PADDING
    axes: ClassVar[int] = 1

    def read(self, name: str, train: NDArray[Any], test: NDArray[Any], class_names: Sequence[str]) -> Read:
        """Matrices of class numbers that are padded with -100, or a list of classes for each row."""
        lists = [as_lists(y) for y in (train, test)]
        if lists[0] is not None and lists[1] is not None:
            codes, names = list_classes(name, lists[0], lists[1], class_names)
            longest = max(len(tags) for part in codes for tags in part)
            first, second = (_padded(part, longest) for part in codes)
            return Read(first, second, names)

        for split, y in (("training", train), ("test", test)):
            if y.ndim != 2 or y.dtype.kind not in "iu":
                expected = f"class numbers [N, L], padded with {PADDING}, or a list of classes for each row"
                raise refuse(f"{name}: tags needs {expected}; the {split} labels are {y.dtype} {list(y.shape)}", KEY)
        if train.shape[1] != test.shape[1]:
            lengths = f"{train.shape[1]} (training) and {test.shape[1]} (test)"
            raise refuse(f"{name}: all rows of tags must have one length, got {lengths}; pad them with {PADDING}", KEY)

        classes = len(class_names) or max(0, int(train.max())) + 1
        for split, y in (("training", train), ("test", test)):
            odd = y[(y != PADDING) & (y < 0)]
            if len(odd):
                bounds = f"0..{classes - 1}, or {PADDING} for padding"
                raise refuse(f"{name}: {split} tags must lie in {bounds}, got {odd[0]}; renumber the classes", KEY)
            refuse_beyond(name, split, y[y != PADDING], classes, len(class_names), KEY)
        names = tuple(map(str, class_names)) or tuple(map(str, range(classes)))
        return Read(train.astype(np.int64), test.astype(np.int64), names)

    def labels(self, values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Those of all tokens: a class counts as often as it is a token's."""
        there = values != PADDING
        return np.nonzero(there)[0], values[there]

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Mean negative log-likelihood of the tokens, padding left out.

        Args:
            logits: [B, L, C].
            y: [B, L].
        """
        from torch.nn import functional as F  # takes a second, and whoever reads labels needs none of it

        return F.cross_entropy(logits.flatten(0, -2), y.flatten(), ignore_index=PADDING)


def _padded(lists: Sequence[Sequence[int]], length: int) -> NDArray[np.int64]:
    table = np.full((len(lists), length), PADDING, np.int64)
    for row, tags in zip(table, lists, strict=True):
        row[: len(tags)] = tags
    return table
