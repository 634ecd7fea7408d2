"""Two towers: one makes a vector of a history of items, one of an item's categories; their cosine is the score.

Yi and others: Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations. RecSys 2019. The tower of
histories is the model's backbone, that of items is its head, so that strategies may keep one of them with the clients.
Each has a table of embeddings of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.inputs import InputKind
from fedlt.data.inputs.histories import HistoryKind, codes_on
from fedlt.data.task import Task
from fedlt.nn.items import fields_of, item_vectors
from fedlt.nn.model import Model
from fedlt.nn.net import Net


class HistoryTower(nn.Module):
    """Histories [B, L] to features [B, D]: the mean over their items of the sum over fields, and a perceptron."""

    vectorizable: ClassVar[bool] = False  # bags of embeddings have no rule for several clients at once

    def __init__(self, kind: HistoryKind, width: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.kind = kind
        self.table = nn.Embedding(kind.catalogue.values, width)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, D].

        Args:
            ids: [B, L] in 0..V-1, also where padded.
            mask: [B, L] which are real, one at least.
        """
        items = item_vectors(self.kind, self.table.weight, ids, mask)
        return self.layers(items.sum(1) / mask.sum(1, keepdim=True))  # type: ignore[no-any-return]


class ItemTower(nn.Module):
    """The head: items to unit vectors, and scores of all items that are classes.

    Attributes:
        missing: [F, width] what stands for a field of which an item has no value, or which is masked.
        scale: by which cosines are multiplied.
    """

    vectorizable: ClassVar[bool] = False

    def __init__(self, kind: HistoryKind, width: int, hidden: int, dim: int, classes: int, scale: float) -> None:
        super().__init__()
        self.kind, self.classes, self.scale = kind, classes, scale
        self.table = nn.Embedding(kind.catalogue.values, width)
        self.missing = nn.Parameter(torch.randn(len(kind.fields), width))
        self.layers = nn.Sequential(nn.Linear(len(kind.fields) * width, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def vectors(self, items: Tensor, masked: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """[B, D] unit vectors of items.

        Args:
            items: [B] in 0..V-1.
            masked: bool [F], fields that are hidden; None: none is.
            kept: bool [B, M], values of the catalogue's columns that are seen; None: all are.
        """
        codes = codes_on(self.kind, items.device)[items]
        there = codes >= 0 if kept is None else (codes >= 0) & kept
        parts = []
        for field, (start, stop) in enumerate(fields_of(self.kind)):
            own = there[:, start:stop, None]
            if masked is not None:
                own = own & ~masked[field]
            count = own.sum(1)
            mean = (self.table(codes[:, start:stop].clamp(min=0)) * own).sum(1) / count.clamp(min=1)
            parts.append(torch.where(count > 0, mean, self.missing[field]))
        return F.normalize(self.layers(torch.cat(parts, 1)))

    def scores(self, features: Tensor, items: Tensor) -> Tensor:
        """[B, N] scores of items [N] for features [B, D] of histories."""
        return self.scale * F.normalize(features) @ self.vectors(items).T

    def forward(self, features: Tensor) -> Tensor:
        return self.scores(features, torch.arange(self.classes, device=features.device))


@dataclass(frozen=True)
class TwoTowers(Model):
    """A tower for histories of items, one for items by their categories, and cosines between them."""

    width: Annotated[int, ">= 1"] = 32  # numbers of an embedding
    hidden: Annotated[int, ">= 1"] = 64  # units of either tower's hidden layer
    dim: Annotated[int, ">= 1"] = 32  # numbers of a vector, and the feature dimension
    temperature: Annotated[float, "> 0"] = 0.1  # by which cosines are divided

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        if not isinstance(inputs, HistoryKind) or inputs.asked:
            wanted = "histories of items (data.interactions, with rows=next)"
            raise ValueError(f"two_towers needs {wanted}, and the inputs are {inputs}")
        return HistoryTower(inputs, self.width, self.hidden, self.dim), self.dim

    def build(self, task: Task) -> Net:
        backbone, dim = self.encoder(task.inputs)
        assert isinstance(task.inputs, HistoryKind)
        head = ItemTower(task.inputs, self.width, self.hidden, dim, task.num_classes, 1 / self.temperature)
        return Net(backbone, head, dim)
