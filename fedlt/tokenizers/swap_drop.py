"""Texts with words swapped and left out: the two of "easy data augmentation"'s four changes that need no dictionary.

Wei, Zou: EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks. EMNLP 2019.
Replacing and inserting synonyms is left out. As in the official code a text is changed in one way at a time. The marks
that some tokenizers put at the ends of a text are words like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fedlt.tokenizers.generator import Text, TextGenerator


@dataclass(frozen=True)
class SwapDrop(TextGenerator):
    """Own texts, in turn with two words swapped several times, and with words left out; none is judged by default."""

    keep: Annotated[float, "> 0", "<= 1"] = 1.0  # share of what is written that stays, the nearest to the class; 1: all
    rate: Annotated[float, "> 0", "< 1"] = 0.1  # swaps of a text, times its words; the chance that a word is left out

    def texts(self, own: Sequence[Text], count: int, length: int, rng: np.random.Generator) -> list[Text]:
        order = [int(row) for row in rng.integers(len(own), size=count)]
        return [(self._swapped, self._dropped)[place % 2](own[row], rng) for place, row in enumerate(order)]

    def _swapped(self, text: Text, rng: np.random.Generator) -> Text:
        """The text after a share of its tokens has changed places."""
        found = text.copy()
        for _ in range(max(1, round(self.rate * len(text)))):
            one, other = rng.integers(len(text), size=2)
            found[[one, other]] = found[[other, one]]
        return found

    def _dropped(self, text: Text, rng: np.random.Generator) -> Text:
        stays = rng.random(len(text)) >= self.rate
        return text[stays] if stays.any() else text[[rng.integers(len(text))]]
