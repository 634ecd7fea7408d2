"""Count models: how often each word stands in the samples of each class, and what a rule makes of these numbers.

Nothing is trained: `learner=counting` fills the table in one pass over a site's samples, and tables of several sites
add up exactly (`strategy=exact_sum`). A rule gives each word a value for each class; a sample's score is the sum over
its words.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.task import Task
from fedlt.nn.model import Model
from fedlt.nn.net import Net


@dataclass(frozen=True)
class CountModel(Model):
    """Base of the count models: `values` is the rule."""

    def values(self, counts: Tensor, table: WordCounts) -> Tensor:
        """[U, C] what each of some words says for each class, in float64.

        Args:
            counts: [U, C] rows of `table.words` as float64.
            table: all that was counted.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no values")

    def scores(self, summed: Tensor, table: WordCounts) -> Tensor:
        """[..., C] scores of samples from the sums [..., C] of their words' values."""
        return summed

    def build(self, task: Task) -> Net:
        """A table of counts, and no head: what its words are worth adds up to the logits.

        Raises:
            ValueError: for inputs other than tokens, and for keys that are of weights.
        """
        name = type(self).__name__
        if not isinstance(task.inputs, TokenKind):
            raise ValueError(f"{name} counts words, and the inputs are {task.inputs}; {task.inputs.remedy}")
        if self.freeze is not None or self.adapter is not None:
            raise ValueError(f"{name} has no weights: model.freeze and model.adapter mean nothing; leave them out")
        table = WordCounts(self, task.inputs.vocabulary, task.num_classes)
        net = Net(table, nn.Identity(), task.num_classes)
        net.no_head = f"{name} has none, and its features are the scores"
        return net


class WordCounts(nn.Module):
    """The backbone of a count model: from token ids [B, L] and their mask to scores [B, C].

    Attributes:
        words: int32 [V, C] how often each word stands in the samples of each class.
        documents: int32 [C] samples of each.
    """

    words: Tensor
    documents: Tensor

    def __init__(self, rule: CountModel, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.rule = rule
        self.register_buffer("words", torch.zeros(vocabulary, classes, dtype=torch.int32))
        self.register_buffer("documents", torch.zeros(classes, dtype=torch.int32))

    def clear(self) -> None:
        """Forget all that was counted."""
        self.words.zero_()
        self.documents.zero_()

    def add(self, x: Tensor, y: Tensor) -> None:
        """Count some samples.

        Args:
            x: [B, L] token ids, below 0 where a sample has ended.
            y: [B] classes.
        """
        here = x >= 0
        classes = self.words.shape[1]
        places = x[here] * classes + y.repeat_interleave(here.sum(1))
        self.words.view(-1).index_add_(0, places, torch.ones_like(places, dtype=torch.int32))
        self.documents.index_add_(0, y, torch.ones_like(y, dtype=torch.int32))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, C] scores, float32."""
        values, rows = self._values(x[mask])
        lengths = mask.sum(1)
        summed = F.embedding_bag(rows, values, lengths.cumsum(0) - lengths, mode="sum")
        return self.rule.scores(summed, self).float()

    def running(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, L, C] scores after each word, float32; after the last one they stay."""
        values, rows = self._values(x[mask])
        each = values.new_zeros(*x.shape, values.shape[1])
        each[mask] = values[rows]
        return self.rule.scores(each.cumsum(1), self).float()

    def _values(self, read: Tensor) -> tuple[Tensor, Tensor]:
        """Values [U, C] of the words among those that are read [n], and the row of each there [n]."""
        present = torch.zeros(len(self.words), dtype=torch.bool, device=read.device)
        present[read] = True
        words = present.nonzero().flatten()
        rows = torch.empty(len(self.words), dtype=torch.int64, device=read.device)
        rows[words] = torch.arange(len(words), device=read.device)
        return self.rule.values(self.words[words].double(), self), rows[read]
