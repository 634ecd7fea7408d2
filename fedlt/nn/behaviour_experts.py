"""Experts for pairs of a history and an item, and a gate that reads the history: how likely the item is liked.

Gong and others: Attention Weighted Mixture of Experts with Contrastive Learning for Personalized Ranking in E-commerce.
ICDE 2023. K experts look at the pair; for each item of the history a gate unit says which of them fit, and an
activation unit how much that item counts. Told after the abstract; there is no public code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from fedlt.data.inputs import InputKind
from fedlt.data.inputs.histories import HistoryKind
from fedlt.nn.items import item_vectors
from fedlt.nn.model import Model


class BehaviourExperts(nn.Module):
    """The item that is asked about, and a history behind it, [B, 1 + L] to features [B, D].

    A linear head on the features, which are the experts' outputs in the shares of the gate, makes of them the sum of
    what each expert says, since an expert's last layer is linear, too.
    """

    vectorizable: ClassVar[bool] = False

    def __init__(self, kind: HistoryKind, width: int, experts: int, hidden: int, dim: int, attention: int) -> None:
        super().__init__()
        self.kind = kind
        self.table = nn.Embedding(kind.catalogue.values, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(3 * width, hidden), nn.ReLU(), nn.Linear(hidden, dim)) for _ in range(experts)
        )
        self.gate_unit, self.activation_unit = (
            nn.Sequential(nn.Linear(3 * width, attention), nn.ReLU(), nn.Linear(attention, outputs))
            for outputs in (experts, 1)
        )

    def embedded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, 1 + L, width] vectors of the items."""
        return item_vectors(self.kind, self.table.weight, ids, mask)

    def gate(self, asked: Tensor, past: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, K] sum over a history of activations times gate units, and [B, L] the activations.

        Args:
            asked: [B, width] the item that is asked about.
            past: [B, L, width] the history.
            mask: [B, L] what of it is real, one at least.
        """
        item = asked[:, None].expand_as(past)
        pairs = torch.cat([past, item, past * item], 2)
        weights = self.activation_unit(pairs)[:, :, 0].masked_fill(~mask, -torch.inf).softmax(1)
        return (weights[:, :, None] * self.gate_unit(pairs)).sum(1), weights

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, D].

        Args:
            ids: [B, 1 + L] in 0..V-1, also where padded.
            mask: [B, 1 + L] which are real: the first, and one more at least.
        """
        vectors = self.embedded(ids, mask)
        asked, past = vectors[:, 0], vectors[:, 1:]
        gate, weights = self.gate(asked, past, mask[:, 1:])
        liked = (weights[:, :, None] * past).sum(1)
        pair = torch.cat([asked, liked, asked * liked], 1)
        said = torch.stack([expert(pair) for expert in self.experts], 1)
        return (gate.softmax(1)[:, :, None] * said).sum(1)


@dataclass(frozen=True)
class BehaviourExpertsModel(Model):
    """Experts for a history and an item that is asked about, and a gate that reads the history."""

    width: Annotated[int, ">= 1"] = 32  # numbers of an embedding
    experts: Annotated[int, ">= 1"] = 4  # K; 1: a perceptron with attention over the history
    hidden: Annotated[int, ">= 1"] = 32  # units of an expert's hidden layer
    dim: Annotated[int, ">= 1"] = 16  # numbers that an expert says, and the feature dimension
    attention: Annotated[int, ">= 1"] = 36  # hidden units of the gate unit, and of the activation unit

    def encoder(self, inputs: InputKind) -> tuple[nn.Module, int]:
        if not isinstance(inputs, HistoryKind) or not inputs.asked:
            wanted = "histories with an item that is asked about (data.interactions.rows=liked)"
            raise ValueError(f"behaviour_experts needs {wanted}, and the inputs are {inputs}")
        sizes = self.width, self.experts, self.hidden, self.dim, self.attention
        return BehaviourExperts(inputs, *sizes), self.dim
