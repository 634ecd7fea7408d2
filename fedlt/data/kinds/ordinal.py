"""One class a sample, and the classes have an order: grades, severities, ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import numeric, ordered, refuse
from fedlt.data.kinds.single import Single
from fedlt.target import Read

KEY = "data.targets"


@dataclass(frozen=True)
class Ordinal(Single):
    """int64 [N] class numbers 0..C-1, the lowest first."""

    order: list[str] | None = None  # class names, the lowest first; null: numbers in their order, or the data's names

    def read(self, name: str, train: NDArray[Any], test: NDArray[Any], class_names: Sequence[str]) -> Read:
        """As of one class a sample; texts need an order."""
        if self.order is None or train.dtype.kind in "UO":
            return super().read(name, train, test, class_names)
        if len(class_names) and list(class_names) != self.order:
            named = ", ".join(class_names)
            raise refuse(
                f"{name}: the data name the classes in another order ({named}); remove it", "data.targets.order"
            )
        return super().read(name, train, test, self.order)

    def text_order(self, name: str, texts: NDArray[np.str_]) -> Sequence[str]:
        """The order that is given, or that of the numbers which the texts are."""
        found = ordered(texts)
        if self.order is None:
            if not numeric(found):
                example = f"data.targets={{name: ordinal, order: [{', '.join(found[:3])}]}}"
                raise refuse(
                    f"{name}: which class is lowest? Texts have no order; name all, as in {example}", "data.targets"
                )
            return found
        if sorted(found) != sorted(self.order):
            odd = sorted({*found} ^ {*self.order})[0]
            where = "is missing in it" if odd in found else "is in no training row"
            raise refuse(f"{name}: the order must name each class once; {odd!r} {where}", f"{KEY}.order")
        return self.order
