"""The statistic of features: moments of the global test set under the generic backbone, and their geometry."""

from __future__ import annotations

from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.measures.collapse import NAMES, Moments, class_columns, client_alignment, collapse_figures
from fedlt.measures.side import attempt
from fedlt.statistic import Arrays, Columns, FeatureBatch, Known, Statistic

DENSE = 2**25
"""Samples times classes up to which sums by class are products with one-hot rows; beyond, rows are added one by one."""


class FeatureMoments(Statistic):
    """Moments of each part of the test set, by its first row: floats, so that parts are added in the order of rows."""

    title = "the geometry of features and head"
    reads_features = True

    def start(self) -> None:
        self.parts: dict[int, Moments] = {}

    def add(self, batch: FeatureBatch) -> None:
        classes = self.task.num_classes
        sums = _dense_sums if len(batch.targets) * classes <= DENSE else _sparse_sums
        self.parts[int(batch.rows[0])] = _moments(batch, *sums(batch, classes))

    def merge(self, other: Self) -> None:
        self.parts |= other.parts

    def to_arrays(self) -> Arrays:
        order = sorted(self.parts)
        stacked = {name: np.stack([getattr(self.parts[first], name) for first in order]) for name in NAMES}
        return {"first": np.array(order, np.int64), **stacked}

    def from_arrays(self, arrays: Arrays) -> None:
        for place, first in enumerate(arrays["first"].tolist()):
            self.parts[first] = Moments(*(arrays[name][place] for name in NAMES))

    def whole(self) -> Moments:
        """Those of all parts together."""
        return Moments.merge([self.parts[first] for first in sorted(self.parts)])

    def figures(self, known: Known) -> dict[str, float]:
        """See `collapse_figures`."""
        return collapse_figures(self.whole(), known.head, known.told)

    def rows(self, known: Known) -> dict[str, Columns]:
        """Alignment by client; norms and duality by class, NaN where the head has no rows."""
        moments = self.whole()
        aligned = {"client": moments.clients.astype(np.int64), "alignment": client_alignment(moments)}
        undefined = dict.fromkeys(("feature_norm", "head_norm", "duality"), np.full(len(moments.count), np.nan))
        found = attempt("class features", partial(class_columns, moments, known.head), undefined, [])
        return {"clients": aligned, "classes": {"class": np.arange(len(moments.count)), **found}}


def _moments(batch: FeatureBatch, count: Tensor, total: Tensor, client_classes: Tensor) -> Moments:
    """The moments of one batch of features [N, D].

    Args:
        count: [C] samples of each class.
        total: [C, D] sums of their features.
        client_classes: [K, C] samples of each class among the test rows of each client.
    """
    features = batch.features
    found = count, total, features.T @ features, torch.tensor(batch.clients).double(), _of_clients(batch, features)
    return Moments(*(tensor.cpu().numpy() for tensor in (*found, client_classes)))


def _dense_sums(batch: FeatureBatch, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count, total and client_classes by one-hot rows [N, C]."""
    hot = F.one_hot(batch.targets, classes).double()
    return hot.sum(0), hot.T @ batch.features, _of_clients(batch, hot)


def _sparse_sums(batch: FeatureBatch, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same without an array [N, C]; the sums of features may differ in their last bit."""
    targets, features = batch.targets, batch.features
    total = features.new_zeros(classes, features.shape[1]).index_add_(0, targets, features)
    held = [torch.bincount(targets[torch.from_numpy(own).to(targets.device)], minlength=classes) for own in batch.held]
    of_clients = torch.stack(held) if held else targets.new_zeros(0, classes)
    return torch.bincount(targets, minlength=classes).double(), total, of_clients.double()


def _of_clients(batch: FeatureBatch, table: Tensor) -> Tensor:
    """[K, M] sums of the rows of a table [N, M] over the test rows of each client."""
    index = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *batch.held])).to(table.device)
    offsets = torch.from_numpy(np.cumsum([0, *map(len, batch.held)])).to(table.device)
    return F.embedding_bag(index, table, offsets, mode="sum", include_last_offset=True)
