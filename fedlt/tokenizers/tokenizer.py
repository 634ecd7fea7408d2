"""The contract of tokenizers: what turns a text into the ids that an encoder reads.

A tokenizer is one frozen dataclass in a file, and its fields are its keys:

    data.tokenizer={name: hashing, length: 64, word_ngrams: 2}
    data.tokenizer=./mine.py:Letters

`data.tokenizer` passes every text of the data set through it once (`fedlt.data.texts`), and a trained model passes
those that it is given later. Nothing is fitted: a text gets the same ids on every machine, whatever else is in the data
set, so that no client learns of the words of others. What decides the ids must be in the fields, in the file or in
`files()`. A vocabulary that follows from the clients' words is a subclass of `fedlt.tokenizers.federated.Federated`.

    @dataclass(frozen=True)
    class Letters(Tokenizer):
        @property
        def vocabulary(self):
            return 27

        def ids(self, text):
            return [ord(letter) - 96 for letter in text.lower() if "a" <= letter <= "z"]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Tokenizer(ABC):
    """Base of the tokenizers."""

    length: Annotated[int, ">= 1"] = 256  # tokens of a text that are kept
    keep: Literal["head", "tail", "both"] = "head"  # which, of a longer text; both: half of them at either end

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """V, the number of different ids, which are 0..V-1."""

    @property
    def empty(self) -> int:
        """The id that stands for a text without a token."""
        return 0

    @abstractmethod
    def ids(self, text: str) -> Sequence[int]:
        """All ids of a text, in their order; none where it has no token."""

    def kept(self, text: str) -> tuple[Sequence[int], int]:
        """The at most `length` ids of a text that are kept, and how many it has in all."""
        found = self.ids(text)
        return cut(found, self.length, self.keep), len(found)

    def files(self) -> tuple[Path, ...]:
        """The files that decide the ids; their content is part of what the tokens are known by.

        Raises ValueError, with the remedy, where the tokenizer cannot be built here.
        """
        return ()


def cut(items: Sequence[Item], length: int, keep: str) -> Sequence[Item]:
    """At most `length` of the items: the first, the last, or half at either end (the first half has the odd one)."""
    if len(items) <= length:
        return items
    first = {"head": length, "tail": 0, "both": length - length // 2}[keep]
    return [*items[:first], *items[len(items) - (length - first) :]]
