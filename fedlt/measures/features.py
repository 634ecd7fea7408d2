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


class FeatureMoments(Statistic):
    """Moments of each part of the test set, by its first row: floats, so that parts are added in the order of rows."""

    title = "the geometry of features and head"
    reads_features = True

    def start(self) -> None:
        self.parts: dict[int, Moments] = {}

    def add(self, batch: FeatureBatch) -> None:
        classes = F.one_hot(batch.targets, self.task.num_classes).double()
        self.parts[int(batch.rows[0])] = _moments(batch, classes)

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


def _moments(batch: FeatureBatch, classes: Tensor) -> Moments:
    """The moments of one batch of features.

    Args:
        classes: [N, C], one-hot.
    """
    features = batch.features
    index = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *batch.held])).to(features.device)
    offsets = torch.from_numpy(np.cumsum([0, *map(len, batch.held)])).to(features.device)

    def of_clients(table: Tensor) -> Tensor:
        return F.embedding_bag(index, table, offsets, mode="sum", include_last_offset=True)

    sums = classes.sum(0), classes.T @ features, features.T @ features
    clients_sums = torch.tensor(batch.clients).double(), of_clients(features), of_clients(classes)
    return Moments(*(tensor.cpu().numpy() for tensor in (*sums, *clients_sums)))
