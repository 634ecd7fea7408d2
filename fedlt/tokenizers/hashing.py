"""Words by their hash: no vocabulary, so nothing is fitted and nothing is learnt of what other clients write.

Kilian Weinberger, Anirban Dasgupta, John Langford, Alex Smola and Josh Attenberg: Feature Hashing for Large Scale
Multitask Learning, ICML 2009. The idea in a sentence: a word's number is its hash modulo the number of buckets, and
two words of one bucket share an embedding. Here a bucket has no sign, since an encoder learns a vector for each.

Further tokens for words in a row are those of Armand Joulin, Edouard Grave, Piotr Bojanowski and Tomas Mikolov: Bag of
Tricks for Efficient Text Classification, EACL 2017; those for characters in a row, of Piotr Bojanowski et al.:
Enriching Word Vectors with Subword Information, TACL 2017, which has them of several sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import Annotated

from fedlt.tokenizers.tokenizer import Tokenizer, cut
from fedlt.tokenizers.words import words

REMEMBERED = 2**20  # tokens whose buckets are kept in memory


class Buckets(dict[str, int]):
    """The bucket of each token, found once: 1..count-1, since 0 is a text without a token."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def __missing__(self, token: str) -> int:
        """The id of a new token: 1 plus its hash, modulo the buckets but one."""
        if len(self) >= REMEMBERED:
            self.clear()
        digest = blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = self[token] = 1 + int.from_bytes(digest, "little") % (self.count - 1)
        return number


@dataclass(frozen=True)
class Hashing(Tokenizer):
    """Words, punctuation marks and n-grams by their hash; nothing is fitted."""

    buckets: Annotated[int, ">= 2"] = 32768  # V, different ids; 0 is a text without a token
    lower: bool = True  # upper case counts as lower case
    word_ngrams: Annotated[int, ">= 1"] = 1  # words in a row that are a token of their own, at most
    char_ngrams: Annotated[int, ">= 0"] = 0  # characters in a row, within a word, that are one, too; 0: none

    @property
    def vocabulary(self) -> int:
        return self.buckets

    def ids(self, text: str) -> Sequence[int]:
        return self._hashed(self._tokens(self._words(text)))

    def kept(self, text: str) -> tuple[Sequence[int], int]:
        """The ids of a text that stay within the length, and how many there were."""
        words = self._words(text)
        if self.word_ngrams == 1 and not self.char_ngrams:
            return self._hashed(cut(words, self.length, self.keep)), len(words)
        total = self._count(words)
        if total <= self.length:
            return self._hashed(self._tokens(words)), total

        # Of a very long text only the ends are looked at: a word gives a token or more.
        first = {"head": self.length, "tail": 0, "both": self.length - self.length // 2}[self.keep]
        last = self.length - first
        head = list(islice(self._tokens(words[:first]), first))
        tail = list(self._tokens(words[-(last + self.word_ngrams - 1) :]))[-last:] if last else []
        return self._hashed([*head, *tail]), total

    def named(self, texts: Iterable[str]) -> dict[int, str]:
        """What the ids stand for in these texts: their tokens; those that share an id together, as `ship|wheat`."""
        buckets: dict[int, set[str]] = {}
        for text in texts:
            for token in self._tokens(self._words(text)):
                buckets.setdefault(self._buckets[token], set()).add(token)
        return {place: "|".join(sorted(tokens)) for place, tokens in buckets.items()}

    def _words(self, text: str) -> list[str]:
        return words(text.lower() if self.lower else text)

    def _tokens(self, found: Sequence[str]) -> Iterator[str]:
        """Each word, and behind it the n-grams that end with it and its characters' n-grams."""
        size = self.char_ngrams
        for place, word in enumerate(found):
            yield word
            for count in range(2, min(self.word_ngrams, place + 1) + 1):
                yield " ".join(found[place + 1 - count : place + 1])
            if size:
                marked = f"<{word}>"
                yield from (f"#{marked[start : start + size]}" for start in range(len(marked) - size + 1))

    def _count(self, found: Sequence[str]) -> int:
        """How many tokens the words have, n-grams included."""
        total = sum(max(0, len(found) + 1 - count) for count in range(1, self.word_ngrams + 1))
        if self.char_ngrams:
            total += sum(max(0, len(word) + 3 - self.char_ngrams) for word in found)
        return total

    def _hashed(self, tokens: Iterator[str] | Sequence[str]) -> list[int]:
        buckets = self._buckets
        return [buckets[token] for token in tokens]

    @cached_property
    def _buckets(self) -> Buckets:
        return Buckets(self.buckets)
