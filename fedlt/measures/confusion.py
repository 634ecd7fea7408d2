"""The statistic of single labels: confusion matrices, one for the generic model or one a client."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.data.task import Task
from fedlt.measures.metrics import GROUPS, Confusion, generic_metrics, personal_columns, personal_summary
from fedlt.statistic import NOBODY, Arrays, Columns, Known, Predicted, Statistic, Subject


class Confusions(Statistic):
    """Counts of (client, true class, predicted class), from which accuracies, recalls and F1 follow."""

    title = "the confusion matrix"

    def start(self) -> None:
        self._cells = np.zeros((0, 4), np.int64)  # client, true, predicted, count; ascending, each cell once
        self._counted: list[NDArray[np.int64]] = []  # the same, of other statistics
        self._batches: list[tuple[int, Tensor, Tensor]] = []  # client, targets, predictions; on their device
        self._columns: dict[str, NDArray[Any]] | None = None  # of all clients, once they were asked for

    @classmethod
    def of(cls, task: Task, subject: Subject, matrices: Mapping[int, Confusion]) -> Confusions:
        """The statistic that gives these matrices, by client."""
        statistic = cls().empty(task, subject)
        statistic._counted = [_with_client(client, matrix) for client, matrix in matrices.items()]
        return statistic

    def add(self, batch: Predicted) -> None:
        self._batches.append((batch.client, batch.targets, batch.logits.argmax(1)))  # waits for no device

    def merge(self, other: Self) -> None:
        self._counted.append(other.cells)

    @property
    def cells(self) -> NDArray[np.int64]:
        """[n, 4] rows of client, true class, predicted class and count, ascending, each cell once."""
        if self._batches:
            clients, targets, predictions = zip(*self._batches, strict=True)
            true, predicted = (torch.cat(parts).cpu().numpy() for parts in (targets, predictions))
            owners = np.repeat(clients, [len(y) for y in targets])
            self._counted.append(np.stack([owners, true, predicted, np.ones_like(true)], axis=1))
            self._batches = []
        if self._counted:
            self._columns = None
            self._cells = _collect(np.concatenate([self._cells, *self._counted]), self.task.num_classes)
            self._counted = []
        return self._cells

    def to_arrays(self) -> Arrays:
        return {"cells": self.cells}

    def from_arrays(self, arrays: Arrays) -> None:
        self._cells = arrays["cells"]

    def forget(self, clients: Collection[int]) -> None:
        cells, self._columns = self.cells, None
        self._cells = cells[~np.isin(cells[:, 0], list(clients))]

    def by_client(self) -> dict[int, Confusion]:
        """The matrices, clients ascending; the generic model's stands under `NOBODY`."""
        clients, starts = np.unique(self.cells[:, 0], return_index=True)
        cells_of = np.split(self.cells[:, 1:], starts[1:]) if len(clients) else []
        return {
            client: Confusion(part[:, 0], part[:, 1], part[:, 2], self.task.num_classes)
            for client, part in zip(clients.tolist(), cells_of, strict=True)
        }

    def figures(self, known: Known) -> dict[str, float]:
        """See `generic_metrics` and `personal_summary`."""
        if self.subject.kind == "generic":
            return generic_metrics(self.by_client()[NOBODY], known.groups, known.mass_counts)
        return personal_summary(self._clients(known))

    def rows(self, known: Known) -> dict[str, Columns]:
        """The matrix itself, and recall by class or accuracy by client."""
        client, true, predicted, count = self.cells.T
        tables: dict[str, Columns] = {"confusion": {"client": client, "true": true, "pred": predicted, "count": count}}

        if self.subject.kind == "generic":
            matrix = self.by_client()[NOBODY]
            numbers = np.arange(self.task.num_classes)
            tables["classes"] = {"class": numbers, "test_count": matrix.support, "recall": matrix.recall()}
        elif self.subject.kind == "personal":
            columns = self._clients(known)
            shown = ("client", "test_samples", "accuracy", *GROUPS)
            tables["clients"] = {name: columns[name] for name in shown}
        else:
            columns = self._clients(known)
            tables["clients"] = {"client": columns["client"], "accuracy_masked": columns["accuracy"]}

        return tables

    def _clients(self, known: Known) -> dict[str, NDArray[Any]]:
        matrices = self.by_client()
        if self._columns is None:
            self._columns = personal_columns(matrices, known.client_counts)
        return self._columns


def _with_client(client: int, matrix: Confusion) -> NDArray[np.int64]:
    cells = matrix.encode()
    return np.concatenate([np.full((len(cells), 1), client), cells], axis=1)


def _collect(rows: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Rows of client, true, predicted, count, with those of equal cells added up, in ascending order."""
    client, true, predicted, count = rows.T
    for name, classes in (("true", true), ("predicted", predicted)):
        if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(f"expected {name} classes in 0..{num_classes - 1}, found {classes.min()}..{classes.max()}")

    size = num_classes**2
    cells, which = np.unique(client * size + true * num_classes + predicted, return_inverse=True)
    sums = np.zeros(len(cells), np.int64)
    np.add.at(sums, which, count)
    inside = cells % size  # of client -1 too: Python's and NumPy's remainders are not negative
    return np.stack([cells // size, inside // num_classes, inside % num_classes, sums], axis=1)
