"""The statistic of items of which the first few are shown: at which rank the one that came next stands.

Ranks of all samples are kept. Items that score as high as the right one count as before it. K is `data.targets.at`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fedlt.measures.metrics import GROUPS, spread
from fedlt.measures.sums import mean_defined
from fedlt.statistic import Arrays, Columns, Known, Predicted, Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from fedlt.data.task import Task

MAIN = ("recall", "ndcg")
OF_GROUPS = tuple(f"{name}_{group}" for name in MAIN for group in (*GROUPS, "short"))
"""By head, medium and tail items, and on short histories."""


def lengths_of(batch: Predicted, task: Task) -> Tensor:
    """[B] items of the histories, without one that is asked about; -1 where the inputs are no token ids."""
    if batch.x is not None:
        x, mask = task.inputs.split(batch.x.inputs())
        if mask is not None and not x.is_floating_point():
            return mask.sum(1) - int(getattr(task.inputs, "asked", False))
    return torch.full_like(batch.rows, -1)


class Ranks(Statistic):
    """Ranks of the right items, of all samples of one model.

    cells: int64 [N, 5] of client, row, item, rank (1 is first) and items of the history (-1: not known), ascending.
    """

    title = "the ranks of items"

    def start(self) -> None:
        self.cells = np.zeros((0, 5), np.int64)

    def add(self, batch: Predicted) -> None:
        """Rank the right item among all; those of the history are left out unless they may come again."""
        logits, y = batch.logits.float(), batch.targets
        lengths = lengths_of(batch, self.task)
        if (lengths >= 0).any() and not self.task.target.repeats:  # type: ignore[attr-defined]  # `Items` alone come here
            assert batch.x is not None
            x, mask = self.task.inputs.split(batch.x.inputs())
            assert mask is not None
            past = torch.where(mask & (x != y[:, None]) & (x < logits.shape[1]), x, y[:, None])
            own = logits.gather(1, y[:, None])
            logits = logits.scatter(1, past, -torch.inf).scatter(1, y[:, None], own)
        rank = (logits >= logits.gather(1, y[:, None])).sum(1)
        columns = (torch.full_like(y, batch.client), batch.rows, y, rank, lengths)
        self._take(torch.stack([column.to(y.device) for column in columns], 1).cpu().numpy())

    def merge(self, other: Self) -> None:
        self._take(other.cells)

    def _take(self, cells: NDArray[np.int64]) -> None:
        both = np.concatenate([self.cells, cells])
        self.cells = both[np.lexsort(both[:, 1::-1].T)]

    def to_arrays(self) -> Arrays:
        return {"cells": self.cells}

    def forget(self, clients: Collection[int]) -> None:
        self.cells = self.cells[~np.isin(self.cells[:, 0], list(clients))]

    def by_client(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Clients ascending with their cells; those of the generic model stand under `NOBODY`."""
        clients, starts = np.unique(self.cells[:, 0], return_index=True)
        return list(zip(clients.tolist(), np.split(self.cells, starts[1:]), strict=False))

    def figures(self, known: Known) -> dict[str, float]:
        """`recall`, `ndcg` over all samples, and over those of each group; of personal models the means over clients.

        A sample has one right item, so that recall is the share of samples whose item is among the first K, and NDCG
        the mean of 1 / log2(1 + rank) over them, 0 beyond K. Groups go by all clients' training counts.
        """
        each = [self._summed(cells, known) for _, cells in self.by_client()]
        found = mean_defined(each)
        if self.subject.kind != "generic":
            found |= spread(np.array([one["recall"] for one in each]))
        return found

    def rows(self, known: Known) -> dict[str, Columns]:
        """Recall by item, or by client."""
        if self.subject.kind == "generic":
            items, hits = self.cells[:, 2], self.cells[:, 3] <= self.task.target.at  # type: ignore[attr-defined]
            seen, found = (np.bincount(items, each, self.task.num_classes) for each in (np.ones(len(items)), hits))
            share = np.full(len(seen), np.nan)
            np.divide(found, seen, out=share, where=seen > 0)
            numbers = np.arange(self.task.num_classes)
            columns = {"class": numbers, "test_count": seen.astype(np.int64), "recall": share}
            return {"classes": columns} | self._on_clients(hits, known)

        clients = np.array([client for client, _ in self.by_client()], np.int64)
        values = [self._summed(cells, known) for _, cells in self.by_client()]
        recall, ndcg = (np.array([value[name] for value in values]) for name in MAIN)
        if self.subject.kind == "personal":
            samples = np.array([len(cells) for _, cells in self.by_client()], np.int64)
            return {"clients": {"client": clients, "test_samples": samples, "recall": recall, "ndcg": ndcg}}
        return {"clients": {"client": clients, "recall_masked": recall}}

    def _on_clients(self, hits: NDArray[np.bool_], known: Known) -> dict[str, Columns]:
        """`clients.generic`, the generic model's recall on each client's own test samples.

        Args:
            hits: [N] whether each sample's item is among the first K.
        """
        if known.tests is None or self.subject.validation:
            return {}
        held, rows, offsets = self.cells[:, 1], known.tests.values, known.tests.offsets
        place = np.searchsorted(held, rows).clip(max=max(len(held) - 1, 0))
        tested = held[place] == rows  # all, unless a part of the test set could not be evaluated
        sums = (np.concatenate([[0], np.cumsum(part)])[offsets] for part in (hits[place] & tested, tested))
        found, counts = (np.diff(total) for total in sums)
        share = np.full(len(counts), np.nan)
        np.divide(found, counts, out=share, where=counts > 0)
        return {"clients": {"client": np.arange(len(share)), "generic": share}}

    def _summed(self, cells: NDArray[np.int64], known: Known) -> dict[str, float]:
        """The figures of some samples, NaN for groups without any."""
        target: Any = self.task.target
        _, _, items, ranks, lengths = cells.T
        shown = ranks <= target.at
        values = {"recall": shown.astype(float), "ndcg": np.where(shown, 1 / np.log2(1 + ranks), 0.0)}
        groups = known.groups[items]
        parts = {group: groups == place for place, group in enumerate(GROUPS)}
        parts["short"] = (lengths >= 0) & (lengths <= target.short)
        found = {name: float(value.mean()) if len(value) else float("nan") for name, value in values.items()}
        for name, value in values.items():
            for group, which in parts.items():
                found[f"{name}_{group}"] = float(value[which].mean()) if which.any() else float("nan")
        return found
