"""What a run measures: one confusion matrix per evaluated model, and every figure derived from it.

A confusion matrix is a mergeable statistic: those of two disjoint test sets add up to that of their union, so the
order and the grouping in which workers evaluate cannot change a result. Figures are fractions in [0, 1]; NaN means
'not defined', for example the accuracy over a group of classes that the test set does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedlt.data.groups import by_mass

Number = TypeVar("Number", np.int64, np.float64)

GROUPS = ("many", "medium", "few")
"""Names of the class groups 0, 1, 2: head, medium and tail classes."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Sparse confusion matrix: `count[i]` samples of class `true[i]` were predicted as class `pred[i]`.

    Sparse, because a client's test set touches few of the num_classes ** 2 cells.

    Attributes:
        true, pred, count: int64 [n], cells in ascending order of (true, pred), each cell once, counts > 0.
    """

    true: NDArray[np.int64]
    pred: NDArray[np.int64]
    count: NDArray[np.int64]
    num_classes: int

    @classmethod
    def from_predictions(cls, true: ArrayLike, pred: ArrayLike, num_classes: int) -> Confusion:
        """Counts N predictions.

        Args:
            true, pred: integers [N] in 0..num_classes-1, else ValueError.
        """
        t, p = np.asarray(true, dtype=np.int64), np.asarray(pred, dtype=np.int64)
        return cls._collect(t, p, np.ones(t.shape, dtype=np.int64), num_classes)

    @classmethod
    def _collect(
        cls, true: NDArray[np.int64], pred: NDArray[np.int64], count: NDArray[np.int64], num_classes: int
    ) -> Confusion:
        """A confusion from cells that are checked.

        Raises:
            ValueError: for unequal lengths, and for classes that there are not.
        """
        if not (true.ndim == 1 and true.shape == pred.shape == count.shape):
            raise ValueError(f"expected equal lengths, found {true.shape}, {pred.shape} and {count.shape}")
        for name, classes in (("true", true), ("predicted", pred)):
            if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
                raise ValueError(f"expected {name} classes in 0..{num_classes - 1}, "
                                 f"found {classes.min()}..{classes.max()}")  # fmt: skip
        cells, inverse = np.unique(true * num_classes + pred, return_inverse=True)
        sums = np.zeros(len(cells), dtype=np.int64)
        np.add.at(sums, inverse, count)
        cells, sums = cells[sums > 0], sums[sums > 0]
        return cls(cells // num_classes, cells % num_classes, sums, num_classes)

    @classmethod
    def merge(cls, parts: Iterable[Confusion]) -> Confusion:
        """The confusion matrix of the union of the parts' test sets. Needs at least one part, all of equal classes."""
        items = list(parts)
        if len({item.num_classes for item in items}) != 1:
            raise ValueError("expected one or more confusion matrices with the same number of classes")
        return cls.decode(np.concatenate([item.encode() for item in items]), items[0].num_classes)

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion.merge((self, other))

    def encode(self) -> NDArray[np.int64]:
        """[n, 3] rows (true, pred, count), for transport."""
        return np.stack([self.true, self.pred, self.count], axis=1)

    @classmethod
    def decode(cls, rows: NDArray[np.int64], num_classes: int) -> Confusion:
        """Inverse of `encode`. The number of classes does not travel: both sides know the task."""
        true, pred, count = np.asarray(rows, dtype=np.int64).reshape(-1, 3).T
        return cls._collect(true, pred, count, num_classes)

    def dense(self) -> NDArray[np.int64]:
        """[C, C]: rows are true classes, columns predicted classes."""
        matrix = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)
        matrix[self.true, self.pred] = self.count
        return matrix

    @property
    def support(self) -> NDArray[np.int64]:
        """[C] samples of each true class."""
        return _sum_by(self.true, self.count, self.num_classes)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """[C] how often each class was predicted."""
        return _sum_by(self.pred, self.count, self.num_classes)

    @property
    def correct(self) -> NDArray[np.int64]:
        """[C] correctly predicted samples of each class."""
        return _sum_by(self.true, self.count * (self.true == self.pred), self.num_classes)

    @property
    def total(self) -> int:
        return int(self.count.sum())

    @property
    def accuracy(self) -> float:
        return float(_ratio(self.correct.sum(), self.total))

    def recall(self) -> NDArray[np.float64]:
        """[C] share of each class's samples that were predicted correctly; NaN for absent classes."""
        return _ratio(self.correct, self.support)

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that the test set holds."""
        return _mean_defined(self.recall())

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that the test set holds; the F1 of a class that is never predicted is 0."""
        f1 = _ratio(2 * self.correct, self.support + self.predicted)
        return _mean_defined(f1[self.support > 0])

    def group_accuracy(self, groups: NDArray[np.int8]) -> tuple[float, float, float]:
        """(many, medium, few): mean recall over the group's classes that have test samples.

        The field's many/medium/few shot accuracy. On a balanced test set it is also the accuracy over the samples.

        Args:
            groups: [C] of 0, 1, 2.
        """
        recall = self.recall()
        many, medium, few = (_mean_defined(recall[groups == group]) for group in range(3))
        return many, medium, few


def generic_metrics(confusion: Confusion, groups: NDArray[np.int8], mass_counts: NDArray[np.int64]) -> dict[str, float]:
    """Figures of one generic model on the global test set.

    Args:
        groups: [C] of 0, 1, 2, for `many`, `medium`, `few`.
        mass_counts: [C] the clients' local test sets summed, for `mass_many`, ...: the groups of the FedLoGe code, 75 /
            20 / 5 % of that mass.
    """
    return {
        "accuracy": confusion.accuracy,
        "balanced_accuracy": confusion.balanced_accuracy,
        "macro_f1": confusion.macro_f1,
        **dict(zip(GROUPS, confusion.group_accuracy(groups), strict=True)),
        **{f"mass_{k}": v for k, v in zip(GROUPS, confusion.group_accuracy(by_mass(mass_counts)), strict=True)},
    }


def personal_columns(
    confusions: Mapping[int, Confusion], client_counts: Callable[[int], NDArray[np.int64]]
) -> dict[str, NDArray[Any]]:
    """One row per client, ascending: client, test_samples, accuracy, balanced_accuracy, macro_f1, many, medium, few.

    Its class groups follow from them by the 75 / 20 / 5 % mass rule. A client with an empty test set has NaN
    throughout. The figures equal those of `Confusion`, computed for all clients at once.

    Args:
        client_counts: client -> [C] its training samples of each class.
    """
    ids = np.array(sorted(confusions), dtype=np.int64)
    parts = [confusions[k] for k in ids.tolist()]
    clients, classes = len(parts), parts[0].num_classes if parts else 1

    true, pred, count = np.concatenate([np.zeros((0, 3), dtype=np.int64), *(part.encode() for part in parts)]).T
    first = np.repeat(np.arange(clients) * classes, [len(part.count) for part in parts])

    # A cell is a (client, class) pair whose class the client's test set holds; cells stand in ascending order.
    cells, cell = np.unique(first + true, return_inverse=True)
    owner, label = cells // classes, cells % classes
    support = _sum_by(cell, count, len(cells))
    correct = _sum_by(cell, count * (true == pred), len(cells))
    known = np.isin(first + pred, cells)
    predicted = _sum_by(np.searchsorted(cells, (first + pred)[known]), count[known], len(cells))

    total, classes_held = _sum_by(owner, support, clients), _sum_by(owner, np.ones_like(owner), clients)
    recall, f1 = correct / support, 2 * correct / (support + predicted)

    # Groups of classes, by each client's own training samples.
    bounds = np.searchsorted(owner, np.arange(clients + 1)).tolist()
    slot = 3 * owner
    for row, client in enumerate(ids.tolist()):
        mine = slice(bounds[row], bounds[row + 1])
        slot[mine] += by_mass(client_counts(client))[label[mine]]
    by_group = _ratio(_sum_by(slot, correct, 3 * clients), _sum_by(slot, support, 3 * clients)).reshape(-1, 3)

    return {
        "client": ids,
        "test_samples": total,
        "accuracy": _ratio(_sum_by(owner, correct, clients), total),
        "balanced_accuracy": _ratio(_sum_by(owner, recall, clients), classes_held),
        "macro_f1": _ratio(_sum_by(owner, f1, clients), classes_held),
        **dict(zip(GROUPS, by_group.T, strict=True)),
    }


def personal_summary(columns: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Unweighted averages over the clients that have a test sample (in the group, for `many`, `medium`, `few`).

    `std` is the population standard deviation of the clients' accuracies, `worst_decile` the mean over the worst
    tenth of the clients, rounded up, and `clients` the number of clients that counted.
    """
    accuracy = columns["accuracy"][columns["test_samples"] > 0]
    found = spread(accuracy)
    clients = found.pop("clients")
    return {
        "accuracy": _mean_defined(np.sort(accuracy)),
        **found,
        **{name: _mean_defined(columns[name]) for name in (*GROUPS, "balanced_accuracy", "macro_f1")},
        "clients": clients,
    }


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """How unequal clients are: `std` and `worst_decile` of one figure of each, and `clients`, those that define it."""
    defined = np.sort(values[~np.isnan(values)])
    clients = len(defined)
    return {
        "std": float(defined.std()) if clients else float("nan"),
        "worst_decile": _mean_defined(defined[: -(-clients // 10)]),
        "clients": float(clients),
    }


def mean_of_last(history: Sequence[Mapping[str, float]], last: int) -> dict[str, float]:
    """Mean of each metric over the last evaluations; NaN unless it was defined in all of them."""
    recent = history[-last:]
    return {name: float(np.mean([metrics.get(name, np.nan) for metrics in recent])) for name in recent[-1]}


def _sum_by(key: NDArray[np.int64], value: NDArray[Number], length: int) -> NDArray[Number]:
    """[length] sums of the values of equal keys, in the values' own type: of integers exact at any size."""
    sums = np.zeros(length, dtype=value.dtype)
    np.add.at(sums, key, value)
    return sums


def _ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """part / whole, NaN where whole is 0."""
    whole = np.asarray(whole, dtype=np.float64)
    ratio = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio


def _mean_defined(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
