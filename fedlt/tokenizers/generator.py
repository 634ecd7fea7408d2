"""The contract of generators: what writes further training texts for the classes of a client that have few.

A generator is one frozen dataclass in a file, and its fields are its keys:

    local.generated=markov
    local.generated={name: markov, up_to: 50, keep: 0.3}
    local.generated=./mine.py:Mine

It is given token ids, as `data.tokenizer` has made them, of one class of one client at a time, and nothing else: no
text leaves the client, and no other client's text, nor a test text, has a part in what it writes. What is written is
looked at once more (`fedlt.tokenizers.nearest`): copies of the client's own texts are refused, and of the others the
share `keep` stays that lies nearest to the class.

    @dataclass(frozen=True)
    class Backwards(TextGenerator):
        def texts(self, own, count, length, rng):
            return [own[row][::-1] for row in rng.integers(len(own), size=count)]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fedlt.data.inputs.tokens import TokenKind

Text = NDArray[np.int64]
"""The token ids of a text, [T]."""


@dataclass(frozen=True)
class TextGenerator(ABC):
    """Base of the generators of texts."""

    up_to: Annotated[int, ">= 2"] | None = None  # texts to which a class is filled up; null: the client's largest one
    times: Annotated[float, "> 0"] = 5.0  # generated texts of a class, at most, times its own
    least: Annotated[int, ">= 1"] = 2  # own texts that a class must have to get further ones
    keep: Annotated[float, "> 0", "<= 1"] = 0.5  # share of what is written that stays, the nearest to the class; 1: all

    @abstractmethod
    def texts(self, own: Sequence[Text], count: int, length: int, rng: np.random.Generator) -> Sequence[Text]:
        """At most `count` texts, of 1 to `length` tokens each, like those of one class.

        What is random follows from `rng` alone, or from PyTorch's global generator, which is seeded for the client.

        Args:
            own: the client's of the class.
        """

    def obstacle(self, inputs: TokenKind) -> str | None:
        """Why these tokens are none that it could write, as a sentence with the remedy; None where they are."""
        return None

    def wanted(self, own: int, largest: int) -> int:
        """How many texts a class gets that has so many of its own.

        Args:
            largest: those of the client's largest class.
        """
        if own < self.least:
            return 0
        full = largest if self.up_to is None else self.up_to
        return max(0, min(full - own, int(self.times * own)))
