"""Texts whose vocabulary the clients choose: numbers of words until they have, ids of the chosen words from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.inputs.kind import Given, InputKind, Tokenised
from fedlt.data.inputs.texts import TextKind
from fedlt.data.inputs.tokens import TokenKind

if TYPE_CHECKING:
    from fedlt.tokenizers.federated import Known


@dataclass(frozen=True, eq=False)
class NumberedKind(TextKind):
    """What a source holds: a token is the number of its word.

    Attributes:
        words: [V] each word, by its number; word 0 stands for a text without a token.
    """

    name: ClassVar[str] = "numbered_words"

    words: tuple[str, ...] = ()

    @classmethod
    def fits(cls, given: Given) -> bool:
        return given.words is not None

    @classmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[NumberedKind, NDArray[Any], NDArray[Any]]:
        kind, x_train, x_test = TokenKind.read(name, train, test)
        assert train.words is not None
        return cls(kind.vocabulary, kind.length, True, train.made, train.words), x_train, x_test

    @classmethod
    def restored(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> InputKind:
        words = tuple(arrays["words"].tobytes().decode("utf-8", "surrogatepass").split("\n"))
        return cls(**{**meta, "made": Tokenised(**meta["made"])}, words=words)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """A word has no line break, so that one stands between two."""
        return {"words": np.frombuffer("\n".join(self.words).encode("utf-8", "surrogatepass"), np.uint8)}

    def knowing(self, known: Known, said: str) -> WordKind:
        """The kind of the same texts as ids of a vocabulary.

        Args:
            said: what is to be told of it.
        """
        return WordKind(known.vocabulary, self.length, True, self.made, known.words, said)


@dataclass(frozen=True, eq=False)
class WordKind(TextKind):
    """Token ids of the words that clients have chosen.

    Attributes:
        words: the chosen vocabulary, in the order of its ids.
        said: how it was chosen, and what it covers.
    """

    name: ClassVar[str] = "words"

    words: tuple[str, ...] = ()
    said: str = ""

    @classmethod
    def fits(cls, given: Given) -> bool:
        return False  # no source holds them: clients choose the words

    @classmethod
    def restored(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> InputKind:
        return cls(**{**meta, "made": Tokenised(**meta["made"]), "words": tuple(meta["words"])})

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "words": list(self.words), "said": self.said}

    def remarks(self) -> list[str]:
        return [*super().remarks(), self.said]

    @property
    def counted(self) -> str:
        return "which words their texts have (data.tokenizer)"

    def _recipe(self) -> Known:
        recipe: Any = super()._recipe()
        known: Known = recipe.knowing(self.words)
        return known
