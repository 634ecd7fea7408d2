"""Clauses that vote: each is an AND of features that must be there and of others that must not, with a weight a class.

The model of Tsetlin machines (Granmo: The Tsetlin Machine. 2018, arXiv 1804.01508), with the weighted clauses of
Abeyrathna, Granmo, Goodwin: Extending the Tsetlin Machine With Integer-Weighted Clauses for Increased Interpretability.
IEEE Access 2021. A sample's votes for a class are the sum of the weights of the clauses that hold; a clause without any
literal never holds. `learner=tsetlin` finds the clauses, and `fedlt.nn.rules` writes them as rules.

Features are Boolean: of token ids, whether a token stands in the sample; of rows of numbers, numbers that are 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn

from fedlt.data.inputs.tabular import TabularKind
from fedlt.data.inputs.tokens import TokenKind
from fedlt.nn.model import Model
from fedlt.nn.net import Net

if TYPE_CHECKING:
    from fedlt.data.inputs import InputKind
    from fedlt.data.site import Site
    from fedlt.data.task import Task

BITS = 16
"""Literals in one number of the table: float32, in which the table travels, holds as many exactly."""

PLACES = "clauses/places"
"""The state of a site that has some of the clauses alone: int64 [2], its first one and the one after its last."""


@dataclass(frozen=True)
class ClauseModel(Model):
    """Clauses over Boolean features, found by a Tsetlin machine."""

    count: Annotated[int, ">= 1"] = 1000  # clauses; joined_clauses shares them out evenly among the clients

    def build(self, task: Task) -> Net:
        """Clauses over features that are 0 or 1, and no head: the votes are the logits."""
        if self.freeze is not None or self.adapter is not None:
            what = "clauses has no weights of steps: model.freeze and model.adapter mean nothing"
            raise ValueError(f"{what}; leave them out")
        features, cuts = _boolean(task.inputs)
        net = Net(Clauses(self.count, features, task.num_classes, cuts), nn.Identity(), task.num_classes)
        net.no_head = "clauses has none, and its features are the votes"
        return net


class Clauses(nn.Module):
    """The backbone of the model: from inputs to votes [B, C].

    Attributes:
        literals: int32 [M, W] the literals of each clause, 16 a number: the features 0..V-1 that must be there, then
            those that must not.
        weights: int32 [M, C].
        features: V.
        cuts: float32 [V] above which a number is 1; None for token ids.
    """

    literals: Tensor
    weights: Tensor

    def __init__(self, count: int, features: int, classes: int, cuts: Tensor | None = None) -> None:
        super().__init__()
        self.features, self.cuts = features, cuts
        self.register_buffer("literals", torch.zeros(count, -(-2 * features // BITS), dtype=torch.int32))
        self.register_buffer("weights", torch.zeros(count, classes, dtype=torch.int32))

    def places(self, site: Site) -> slice:
        """Which of the clauses the site learns; all of them unless its state says otherwise."""
        held = site.state.get(PLACES)
        return slice(0, len(self.literals)) if held is None else slice(*held.tolist())

    def clear(self, places: slice = slice(None)) -> None:
        """Make clauses empty ones."""
        self.literals[places] = 0
        self.weights[places] = 0

    def fill(self, places: slice, features: Tensor, included: Tensor, weights: Tensor) -> None:
        """Set clauses.

        Args:
            features: [F] ids.
            included: bool [K, 2 F] which of these must be there, and which must not.
            weights: [K, C].
        """
        self.clear(places)
        columns = torch.cat([features, features + self.features])
        clauses, which = included.nonzero(as_tuple=True)
        literal = columns[which]
        packed = self.literals[places]
        added = 1 << (literal % BITS).int()
        packed.view(-1).index_add_(0, clauses * packed.shape[1] + literal // BITS, added)
        self.weights[places] = weights.int()

    def included(self) -> tuple[Tensor, Tensor]:
        """The literals that any clause has: [U] their numbers in 0..2V-1, ascending, and bool [M, U] who has them."""
        words = self.literals.any(0).nonzero().flatten()
        bits = torch.arange(BITS, device=words.device)
        has = ((self.literals[:, words, None] >> bits) & 1).bool().flatten(1)
        used = has.any(0).nonzero().flatten()
        return (words[:, None] * BITS + bits).flatten()[used], has[:, used]

    def holds(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """bool [B, V] the features of samples."""
        if self.cuts is not None:
            return x > self.cuts.to(x.device)
        there = torch.zeros(len(x), self.features, dtype=torch.bool, device=x.device)
        rows, steps = (x >= 0 if mask is None else mask).nonzero(as_tuple=True)
        there[rows, x[rows, steps]] = True
        return there

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C] votes, whole numbers in float32."""
        literals, has = self.included()
        there = self.holds(x, mask)
        wanted = literals < self.features
        missed = torch.where(wanted, ~there[:, literals % self.features], there[:, literals % self.features])
        fires = ((missed.float() @ has.float().T) == 0) & has.any(1)
        return (fires.double() @ self.weights.double()).float()


def _boolean(inputs: InputKind) -> tuple[int, Tensor | None]:
    """How many Boolean features the inputs have, and above which number each is 1; None for token ids.

    Raises:
        ValueError: for inputs that have none.
    """
    if isinstance(inputs, TokenKind):
        return inputs.vocabulary, None
    if not isinstance(inputs, TabularKind):
        what = f"clauses are over features that are there or not, and the inputs are {inputs}"
        raise ValueError(f"{what}; give token ids, texts with data.tokenizer=hashing, or rows of 0 and 1")

    mean, std = torch.from_numpy(inputs.mean.copy()).double(), torch.from_numpy(inputs.std.copy()).double()
    spread = torch.where((mean == 0) | (mean == 1), 1.0, (mean * (1 - mean)).clamp(min=0).sqrt())
    odd = ((std - spread).abs() > 1e-3).nonzero().flatten()
    if len(odd) or inputs.holes:
        has = f"the column {inputs.columns[int(odd[0])]} has" if len(odd) else "some columns have"
        what = f"clauses are over features that are there or not, and {has} other numbers than 0 and 1, or missing ones"
        raise ValueError(f"{what}; give a column of 0 and 1 for each threshold")
    cuts = torch.full(inputs.shape, 0.5)
    cuts[: len(mean)] = ((0.5 - mean) / std).float()
    return len(cuts), cuts
