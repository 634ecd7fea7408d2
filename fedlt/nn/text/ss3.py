"""SS3: a word counts for a class as far as it is frequent there, stands out there, and stands out in few others.

Burdisso, Errecalde, Montes-y-Gómez: A Text Classification Framework for Simple and Effective Early Depression
Detection over Social Media Streams. Expert Systems with Applications 2019. Each class is normalised by its own most
frequent word, so that no class gains by its size. The official code, pyss3, has come to differ from the paper, and
`formula` says whose values are taken: the code's defaults (`sg_m="xai"`, `cv_m="norm_gv_xai"`) let words that are
common to the classes say nothing, and divide by the class's largest value; `undivided` is the first of these alone
(`cv_m="gv"`), and the paper has neither (`sg_m="vanilla"`). As in the code, under all of them, a word seen once in a
class says nothing for it, one never seen there has no significance for it, the median of an even number of classes is
the lower of the middle two, and for two classes their smaller value is both the median and the deviation. Differs from
the code: words only, no n-grams; a sample's words are summed at once, which its sums over sentences and paragraphs
come to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from fedlt.nn.text.word_counts import CountModel, WordCounts

# The code's bounds on median and deviation of a word's local values, beyond which it is common to the classes.
LEAST_SPREAD, COMMON_VALUE, COMMON_MEDIAN, COMMON_SPREAD, LARGE_MEDIAN = 0.03, 0.09, 0.2, 0.1, 0.3


@dataclass(frozen=True)
class SS3(CountModel):
    """Local value times significance times sanction."""

    smoothness: Annotated[float, "> 0"] = 0.45  # s: power of a word's share of the class's most frequent word
    significance: Annotated[float, "> 0"] = 0.5  # l: deviations from the median of the classes that make it significant
    sanction: Annotated[float, ">= 0"] = 1.0  # p: power of the punishment for being significant in other classes too
    noise: Annotated[int, ">= 0"] = 1  # a word that a class has no more than so often has no value for it
    least: Annotated[float, ">= 0"] = 0.0  # a: values up to it are dropped
    formula: Literal["code", "undivided", "paper"] = "code"  # undivided: common words are silent, and that is all

    def values(self, counts: Tensor, table: WordCounts) -> Tensor:
        """[W, C] local values of the words, those below `least` being 0."""
        most = table.words.amax(0).double()
        values = self.plain(counts, most)
        if self.formula == "code":
            used = table.words[table.words.amax(1) > self.noise].double()
            largest = self.plain(used, most).amax(0) if len(used) else torch.zeros_like(most)
            values = torch.where(largest > 0, values / largest, 0.0)
        return values * (values > self.least)

    def plain(self, counts: Tensor, most: Tensor) -> Tensor:
        """[U, C] values before any division.

        Args:
            counts: [U, C] of words.
            most: [C] of each class's most frequent word.
        """
        local = self.local(counts, most)
        significance = self.significant(local) * (counts > 0)
        return local * significance * self.sanctioned(significance)

    def local(self, counts: Tensor, most: Tensor) -> Tensor:
        """[U, C] (count / count of the class's most frequent word)^s.

        Args:
            most: [C].
        """
        share = counts / most.clamp(min=1)
        return torch.where(counts > self.noise, share**self.smoothness, 0.0)

    def significant(self, local: Tensor) -> Tensor:
        """[U, C] tanh(3 (local - median) / (l MAD) - 3) / 2 + 1/2. MAD: mean distance of classes to their median."""
        if local.shape[1] == 2:
            median = deviation = local.amin(1, keepdim=True)
        else:
            median = local.median(1, keepdim=True).values
            deviation = (local - median).abs().mean(1, keepdim=True)
        if self.formula != "paper":
            deviation = deviation.clamp(min=LEAST_SPREAD / self.significance)
        sharp = torch.tanh(3 * (local - median) / (self.significance * deviation) - 3) / 2 + 0.5
        if self.formula == "paper":
            return torch.where(deviation > 0, sharp, (local > 0).double())
        common = (median > COMMON_MEDIAN) | (local > COMMON_VALUE).all(1, keepdim=True)
        silent = (common & (deviation <= COMMON_SPREAD)) | (median >= LARGE_MEDIAN)
        return sharp * ~silent

    def sanctioned(self, significance: Tensor) -> Tensor:
        """[U, C] ((C - (S + 1)) / ((C - 1) (S + 1)))^p, with S the sum of the other classes' significances."""
        classes = significance.shape[1]
        others = significance.sum(1, keepdim=True) - significance
        return ((classes - (others + 1)).clamp(min=0) / ((classes - 1) * (others + 1))) ** self.sanction

    def scores(self, summed: Tensor, table: WordCounts) -> Tensor:
        """Where no word says anything, the class with most words is taken."""
        counted = table.words.sum(0).double()
        share = counted / counted.sum().clamp(min=1)
        return torch.where(summed.any(-1, keepdim=True), summed, share)
