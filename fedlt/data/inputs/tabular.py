"""Rows of features: numbers, of which some may be missing, and categories. What a model gets is one row of numbers.

Stored as float32 [N, F + G]: F numbers, NaN where one is missing, then the codes of G categories. A model gets

    F numbers        standardised by the training source; a missing one is 0, its mean
    indicators       1 where a number is missing, for each of the F that has missing values in the training source
    categories       one-hot, over the values of the training source, at most the 100 most frequent of a column

A category that is none of those (unseen in training, or rare) is 0 in all of its columns. A missing category is a value
of its own where the training source has missing ones, and else counts as unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.inputs.kind import Given, InputKind, StoredInputs, spread, tensor_of
from fedlt.errors import FedLTError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MOST_LEVELS = 100
"""Values of a category that get a column of their own, at most."""
MISSING = ""
"""Stands for a missing category among the values."""


@dataclass(frozen=True, eq=False)
class TabularKind(InputKind):
    """Rows of a table: F numbers and G categories.

    Attributes:
        mean, std: float32 [F], of the numbers that are there.
        indicators: which of the F numbers have one.
        levels: the values of each category.
        holes: whether any number is missing, in either split.
        names: of the F + G columns.
    """

    name: ClassVar[str] = "rows"
    title: ClassVar[str] = "rows of numbers"

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    indicators: tuple[int, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    holes: bool = False
    names: tuple[str, ...] = ()

    @classmethod
    def fits(cls, given: Given) -> bool:
        return given.x.ndim == 2 and given.x.dtype.kind in "fU" and given.mask is None

    @classmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[TabularKind, NDArray[Any], NDArray[Any]]:
        """Numbers and categories, with moments and levels of the training rows."""
        (numbers, texts), (test_numbers, test_texts) = (_parted(name, given) for given in (train, test))
        shapes = [(part.shape[1], named.shape[1]) for part, named in ((numbers, texts), (test_numbers, test_texts))]
        if shapes[0] != shapes[1]:
            told = " and ".join(
                f"{f} numbers and {g} categories ({split})"
                for (f, g), split in zip(shapes, ("training", "test"), strict=True)
            )
            raise refuse(f"{name}: all inputs must have one shape, got {told}")

        missing, test_missing = np.isnan(numbers), np.isnan(test_numbers)
        kind = cls(
            *_moments(numbers, missing),
            indicators=tuple(np.flatnonzero(missing.any(axis=0)).tolist()),
            levels=tuple(_levels(column) for column in texts.T),
            holes=bool(missing.any() or test_missing.any()),
            names=train.names,
        )
        return kind, kind._stored(numbers, texts), kind._stored(test_numbers, test_texts)

    @classmethod
    def restored(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> TabularKind:
        levels = tuple(map(tuple, meta["levels"]))
        return cls(**arrays, indicators=tuple(meta["indicators"]), levels=levels, holes=meta["holes"],
                   names=tuple(meta["names"]))  # fmt: skip

    def meta(self) -> dict[str, Any]:
        return {"indicators": self.indicators, "levels": self.levels, "holes": self.holes, "names": self.names}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean, "std": self.std}

    def stored(self, given: Given) -> NDArray[Any]:
        """Rows as float32: numbers, NaN where one is missing, then codes of categories."""
        count = len(self.mean), len(self.levels)
        expected = f"expected rows of {count[0]} numbers" + (f" and {count[1]} categories" if count[1] else "")
        if given.x.ndim != 2 or given.x.dtype.kind not in "iufU" or given.mask is not None:
            raise FedLTError(f"{expected}, got {given.x.dtype} {list(given.x.shape)}")
        numbers, texts = _parted("the new samples", given)
        if (numbers.shape[1], texts.shape[1]) != count:
            raise FedLTError(f"{expected}, got {numbers.shape[1]} and {texts.shape[1]}")
        if np.isnan(numbers).any() and not self.holes:
            raise FedLTError(f"{expected}, and some are missing, which the model has never met; fill them in")
        return self._stored(numbers, texts)

    @property
    def shape(self) -> tuple[int]:
        return (len(self.mean) + len(self.indicators) + sum(map(len, self.levels)),)

    @property
    def serves(self) -> tuple[str, ...]:
        return ("numbers", "mixing", "parts")

    @property
    def columns(self) -> tuple[str, ...]:
        """What each of the numbers is that a model gets: `age`, `age is missing`, `job=nurse`, ..."""
        total = len(self.mean) + len(self.levels)
        names = self.names if len(self.names) == total else tuple(map(str, range(total)))
        numbers, categories = names[: len(self.mean)], names[len(self.mean) :]
        told = [f"{name}={level}" for name, levels in zip(categories, self.levels, strict=True) for level in levels]
        return (*numbers, *(f"{numbers[place]} is missing" for place in self.indicators), *told)

    def remarks(self) -> list[str]:
        """Which columns have missing values, and what stands for them."""
        if not self.indicators:
            return []
        names = [self.columns[place] for place in self.indicators]
        told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        what = f"{len(names)} of {len(self.mean)} columns of numbers have missing values ({told})"
        return [f"{what}: the mean stands for them, and an indicator beside it says so"]

    def open(self, array: NDArray[Any], device: Any) -> StoredInputs:
        return Table(self, tensor_of(array, device))

    def example(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        import torch

        shape = (count, *self.shape)
        return torch.zeros(shape) if generator is None else torch.randn(shape, generator=generator)

    def stored_example(self, count: int) -> Tensor:
        import torch

        return torch.zeros(count, len(self.mean) + len(self.levels))

    def _stored(self, numbers: NDArray[np.float32], texts: NDArray[Any]) -> NDArray[np.float32]:
        """[N, F + G] the numbers, and the codes of the categories; -1 for one that is none of the levels."""
        if not self.levels:
            return numbers
        codes = np.full(texts.shape, -1, np.float32)
        for place, levels in enumerate(self.levels):
            known = {level: code for code, level in enumerate(levels)}
            codes[:, place] = [known.get(text, -1) for text in texts[:, place]]
        return np.concatenate([numbers, codes], axis=1)


class Table:
    """float32 rows [N, F + G] as a `TabularKind` stores them."""

    def __init__(self, kind: TabularKind, values: Tensor) -> None:
        self.values, self._numbers = values, len(kind.mean)
        self.mean, self.std = (tensor_of(moment.copy(), values.device) for moment in (kind.mean, kind.std))
        self._kind, self._width = kind, kind.shape[0]
        sizes = [len(levels) for levels in kind.levels]
        starts = self._numbers + len(kind.indicators) + np.concatenate([[0], np.cumsum(sizes[:-1], dtype=np.int64)])
        self._starts = tensor_of(starts.astype(np.int64), values.device)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Tensor:
        if reason := self._kind.obstacle(augment):
            raise ValueError(f"local.augment={reason}")
        return self.ready(self.values[rows])

    def ready(self, stored: Tensor) -> Tensor:
        """Rows as a model reads them: standardised numbers, indicators of missing ones, one-hot categories."""
        kind, held = self._kind, stored
        if not kind.levels and not kind.holes:
            return (held - self.mean) / self.std

        numbers, codes = held[:, : self._numbers], held[:, self._numbers :].long()
        x = held.new_zeros(held.shape[0], self._width + 1)  # the last column takes the ones of unknown categories
        x[:, : self._numbers] = ((numbers - self.mean) / self.std).nan_to_num(0.0)
        if kind.indicators:
            stop = self._numbers + len(kind.indicators)
            x[:, self._numbers : stop] = numbers[:, list(kind.indicators)].isnan().float()
        if kind.levels:
            x.scatter_(1, (codes + self._starts).masked_fill(codes < 0, self._width), 1.0)
        return x[:, : self._width].contiguous()


def _parted(name: str, given: Given) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Numbers [N, F], and categories [N, G] as texts."""
    x, categories = given.x, given.categories
    if x.dtype.kind == "U":
        if categories is not None:
            raise refuse(f"{name}: the inputs are texts and have categories beside them; put all into one of the two")
        x, categories = np.zeros((len(x), 0), np.float32), x
    if categories is None:
        categories = np.zeros((len(x), 0), object)
    if categories.ndim != 2 or len(categories) != len(x):
        expected = f"[{len(x)}, G]: a column for each"
        raise refuse(f"{name}: categories must have the shape {expected}, got {list(categories.shape)}")

    with np.errstate(over="ignore"):
        numbers = x.astype(np.float32)
    if np.isinf(numbers).any():
        column = int(np.flatnonzero(np.isinf(numbers).any(axis=0))[0])
        raise refuse(f"{name}: feature {column} has infinite or huge values; mend them first")
    texts = np.empty(categories.shape, object)
    for place, value in np.ndenumerate(categories):
        texts[place] = _text(value)
    return numbers, texts


def _text(value: Any) -> str:
    """A category as text: whole numbers alike whatever their type; what is missing is `MISSING`."""
    if value is None or value != value:
        return MISSING
    return str(int(value)) if isinstance(value, float | np.floating) and value == int(value) else str(value)


def _levels(texts: Sequence[str]) -> tuple[str, ...]:
    """The values of a category that get a column, in alphabetical order."""
    counted = sorted(Counter(texts).items(), key=lambda item: (-item[1], item[0]))
    return tuple(sorted(text for text, _ in counted[:MOST_LEVELS]))


def _moments(
    numbers: NDArray[np.float32], missing: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each number, over the rows that have it; 0 and 1 where none has."""
    mean = numbers.mean(axis=0, dtype=np.float64)
    variance = numbers.var(axis=0, dtype=np.float64)
    for column in np.flatnonzero(missing.any(axis=0)):
        there = numbers[~missing[:, column], column].astype(np.float64)
        mean[column], variance[column] = (there.mean(), there.var()) if len(there) else (0.0, 0.0)
    return mean.astype(np.float32), spread(variance)
