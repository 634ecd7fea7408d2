"""Naive Bayes of word counts: a sample's words are drawn independently from its class, or from all the other classes.

`multinomial`: McCallum, Nigam: A Comparison of Event Models for Naive Bayes Text Classification. AAAI workshop 1998.
`complement`: Rennie, Shih, Teevan, Karger: Tackling the Poor Assumptions of Naive Bayes Text Classifiers. ICML 2003. A
class is judged by how badly the words fit all others, of which there are about equally many samples whatever its own
size. Both are scikit-learn's, whose smoothing runs over all words of the vocabulary: the second paper's transforms of
the counts and its normalised weights are left out. A class of which there was no sample cannot be predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from fedlt.nn.text.word_counts import CountModel, WordCounts


@dataclass(frozen=True)
class NaiveBayes(CountModel):
    """Sums of logarithms of smoothed shares."""

    kind: Literal["multinomial", "complement"] = "multinomial"  # the class's own words, or those of all other classes
    smoothing: Annotated[float, "> 0"] = 1.0  # added to the count of every word

    def values(self, counts: Tensor, table: WordCounts) -> Tensor:
        """[W, C] log-probabilities of the words in each class, or, negative, in all other classes."""
        own, added = table.words.sum(0).double(), self.smoothing * len(table.words)
        if self.kind == "multinomial":
            return (counts + self.smoothing).log() - (own + added).log()
        others = counts.sum(1, keepdim=True) - counts
        return (own.sum() - own + added).log() - (others + self.smoothing).log()

    def scores(self, summed: Tensor, table: WordCounts) -> Tensor:
        """With the classes' shares of the samples, which the complement does without."""
        documents = table.documents.double()
        if not documents.any():
            return summed
        if self.kind == "multinomial":
            return summed + (documents / documents.sum()).log()
        return torch.where(documents > 0, summed, -torch.inf)
