"""A vocabulary that the clients find together: each counts its own words, and those of several clients stay.

The rule is that of federated counting as in Wennan Zhu, Peter Kairouz, Brendan McMahan, Haicheng Sun and Wei Li:
Federated Heavy Hitters Discovery with Differential Privacy, AISTATS 2020, without its sampling and its guarantee: here
the server sees what each client counts, and the threshold keeps one client's words from the others. The idea in a
sentence: before the first round each client tells the server the words of its training texts with their counts, and the
server sends back those that at least so many clients have.

What no client's training texts hold, such as words of the test set alone, is never in the vocabulary, and no text
leaves its client. Where partition and texts meet is `fedlt.data.vocabulary`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fedlt.tokenizers.hashing import Buckets
from fedlt.tokenizers.tokenizer import Tokenizer, cut
from fedlt.tokenizers.words import words

EARLY = "federated has no ids before the clients have counted their words; take `.knowing(words)`"


@dataclass(frozen=True)
class Federated(Tokenizer):
    """Words that several clients have, each of which counts its own training texts; nothing is pooled."""

    at_least: Annotated[int, ">= 1"] = 2  # clients that must have a word
    count: Annotated[int, ">= 1"] = 1  # times that a client must have it to tell of it
    size: Annotated[int, ">= 1"] | None = None  # words at most, those that clients have most often; null: all
    buckets: Annotated[int, ">= 1"] = 1  # ids of all other words, by their hash; 1: one id says unknown
    lower: bool = True  # upper case counts as lower case

    def tokens(self, text: str) -> Sequence[str]:
        """The words and signs of a text in their order. What is overridden to count something else."""
        return words(text.lower() if self.lower else text)

    def choose(self, clients: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The words that stay, the most frequent first.

        Words that are equally frequent stand in their own order.

        Args:
            clients: [W] how many clients tell of each word.
            counts: [W] how often these have it.
        """
        frequent = np.flatnonzero(clients >= self.at_least)
        return frequent[np.argsort(-counts[frequent], kind="stable")][: self.size]

    def knowing(self, vocabulary: Sequence[str]) -> Known:
        """The tokenizer that knows these words."""
        return Known(self.length, self.keep, self, tuple(vocabulary))

    @property
    def vocabulary(self) -> int:
        raise ValueError(EARLY)

    def ids(self, text: str) -> Sequence[int]:
        raise ValueError(EARLY)


@dataclass(frozen=True)
class Known(Tokenizer):
    """Ids of texts by a vocabulary: 0 for a text without a token, 1..B for unknown words, then the words.

    Attributes:
        recipe: what takes texts apart, and B.
        words: the vocabulary in the order of its ids.
    """

    recipe: Federated = Federated()
    words: tuple[str, ...] = ()

    @property
    def vocabulary(self) -> int:
        return 1 + self.recipe.buckets + len(self.words)

    def ids(self, text: str) -> Sequence[int]:
        return self.of_words(self.recipe.tokens(text))

    def kept(self, text: str) -> tuple[Sequence[int], int]:
        found = self.recipe.tokens(text)
        return self.of_words(cut(found, self.length, self.keep)), len(found)

    def of_words(self, found: Iterable[str]) -> list[int]:
        """The id of each word."""
        known, unknown = self._known, self._unknown
        return [known[word] if word in known else unknown[word] for word in found]

    @cached_property
    def _known(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words, 1 + self.recipe.buckets)}

    @cached_property
    def _unknown(self) -> Buckets:
        return Buckets(1 + self.recipe.buckets)


@dataclass(frozen=True)
class Numbering(Tokenizer):
    """Numbers words from 1 on as they come, so that texts can be stored before a vocabulary is chosen.

    It chooses nothing: a number stands for its word.

    Attributes:
        recipe: what takes texts apart.
        numbers: those that are taken.
    """

    recipe: Federated = Federated()
    numbers: dict[str, int] = field(default_factory=lambda: {"": 0})

    @classmethod
    def of(cls, recipe: Federated) -> Numbering:
        """That of texts which the recipe cuts."""
        return cls(recipe.length, recipe.keep, recipe)

    @property
    def vocabulary(self) -> int:
        return len(self.numbers)

    def ids(self, text: str) -> Sequence[int]:
        return self._of_words(self.recipe.tokens(text))

    def kept(self, text: str) -> tuple[Sequence[int], int]:
        found = self.recipe.tokens(text)
        return self._of_words(cut(found, self.length, self.keep)), len(found)

    def _of_words(self, found: Iterable[str]) -> list[int]:
        numbers = self.numbers
        return [numbers.setdefault(word, len(numbers)) for word in found]
