"""What a word is: letters, digits and the marks upon them, in any script; each other sign stands alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

ASCII = re.compile(r"\w+|[^\w\s]", re.ASCII)  # half the time of the same with all letters
PLAIN = re.compile(ASCII.pattern)


def words(text: str) -> list[str]:
    r"""The words and signs of a text: `\w+|[^\w\s]`, where a combining mark belongs to the word that it stands in.

    Composed and decomposed letters are alike. A script without spaces gives a word for each run of its letters.
    """
    composed, pattern = _read(text)
    return pattern.findall(composed)


def matches(text: str) -> Iterator[re.Match[str]]:
    """The same with their places in the text as it is with composed letters."""
    composed, pattern = _read(text)
    return pattern.finditer(composed)


def _read(text: str) -> tuple[str, re.Pattern[str]]:
    """The text in composed letters, and the quickest pattern for the words that it has."""
    if text.isascii():
        return text, ASCII
    composed = unicodedata.normalize("NFC", text)
    return composed, PLAIN if _marks().isdisjoint(composed) else _with_marks()


@cache
def _marks() -> frozenset[str]:
    """The characters that stand upon or beside a letter, such as the vowel signs of Indian scripts."""
    every = map(chr, range(0x10000))  # re has a fast table for these alone
    return frozenset(character for character in every if unicodedata.category(character) in ("Mn", "Mc"))


@cache
def _with_marks() -> re.Pattern[str]:
    marks = re.escape("".join(sorted(_marks())))
    return re.compile(rf"[\w{marks}]+|[^\w\s{marks}]")
