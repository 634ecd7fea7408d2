"""Convolutions over words, and the largest answer of each filter.

Kim: Convolutional Neural Networks for Sentence Classification. EMNLP 2014.

A filter looks at every run of 3, 4 or 5 words, and the text's feature is its largest answer. As in the paper's code a
filter may reach beyond either end, where it sees zeros; here it sees the same zeros whatever stands beside the text in
its batch, and never a run of zeros alone. The paper's clipping of the head's norms is left out, and its embeddings,
word2vec's, are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.nn.text.encoder import Embedding, TokenEncoder, TokenModel, cleared

USUAL = (3, 4, 5)  # words that a filter looks at


class TextCNNEncoder(TokenEncoder):
    """One convolution for each length of runs; dropout on the features."""

    def __init__(self, embedding: Embedding, width: int, maps: int, runs: tuple[int, ...], dropout: float) -> None:
        super().__init__(embedding, maps * len(runs), width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, maps, run, padding=run - 1) for run in runs)
        self.dropout = nn.Dropout(dropout)
        self.runs = runs

    def states(self, vectors: Tensor, mask: Tensor) -> Tensor:
        return vectors

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """The largest answer of each filter over the runs of real words."""
        words = cleared(states, mask).transpose(1, 2)
        found = []
        for run, convolution in zip(self.runs, self.convolutions, strict=True):
            # A run counts where at least one of its words is real.
            reached = F.max_pool1d(F.pad(mask.float()[:, None], (run - 1, run - 1)), run, stride=1) > 0
            found.append(convolution(words).masked_fill(~reached, -torch.inf).amax(2))
        return self.dropout(torch.cat(found, 1).relu())  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TextCNN(TokenModel):
    """Convolutions over runs of words, of which the largest answers count (Kim, EMNLP 2014)."""

    maps: Annotated[int, ">= 1"] = 100  # filters of each length; the features are as many times the number of lengths
    runs: list[int] = field(default_factory=list)  # how many words in a row filters look at; empty: 3, 4 and 5
    dropout: Annotated[float, ">= 0", "< 1"] = 0.5  # of the features

    def tokens(self, embedding: Embedding, length: int) -> TokenEncoder:
        if any(run < 1 for run in self.runs):
            raise ValueError(f"model.runs={self.runs}: expected numbers of words, 1 or more")
        return TextCNNEncoder(embedding, self.width, self.maps, tuple(self.runs) or USUAL, self.dropout)
