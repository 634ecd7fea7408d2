"""Texts by a chain of words: the next one is drawn from those that follow the last two in the class's own texts.

Shannon: A Mathematical Theory of Communication. Bell System Technical Journal 1948, section 3, for the chains; Katz:
Estimation of Probabilities from Sparse Data for the Language Model Component of a Speech Recognizer. IEEE Transactions
on Acoustics, Speech, and Signal Processing 1987, for backing off. Stands in for the fine-tuned GPT-2 of Bayer and
others (see `fedlt.tokenizers.nearest`), in milliseconds and without weights: the idea is that of their filter, which
makes something of a poor generator too. Where two words have had one follower only, which would copy the text, the last
word alone decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedlt.tokenizers.generator import Text, TextGenerator

START, END = -1, -2  # stand before and behind a text's tokens


@dataclass(frozen=True)
class Markov(TextGenerator):
    """Chains of words of the class's own texts: by the last two, or the last one where two have one follower."""

    def texts(self, own: Sequence[Text], count: int, length: int, rng: np.random.Generator) -> list[Text]:
        by_two, by_one = _followers(own)
        drawn = (_chain(by_two, by_one, length, rng) for _ in range(count))
        return [text for text in drawn if text is not None]


def _followers(own: Sequence[Text]) -> tuple[dict[tuple[int, int], list[int]], dict[int, list[int]]]:
    """What has followed each two tokens in a row, and each one, as often as it has."""
    by_two, by_one = defaultdict(list), defaultdict(list)
    for text in own:
        before, last = START, START
        for token in [*text.tolist(), END]:
            by_two[before, last].append(token)
            by_one[last].append(token)
            before, last = last, token
    return by_two, by_one


def _chain(
    by_two: dict[tuple[int, int], list[int]], by_one: dict[int, list[int]], length: int, rng: np.random.Generator
) -> Text | None:
    """One text; None where it does not end within the length, or is empty."""
    tokens: list[int] = []
    before, last = START, START
    while len(tokens) <= length:
        followers = by_two[before, last] if (before, last) in by_two else by_one[last]

        # What has one continuation only would copy a text: then only the last token decides.
        if len(set(followers)) == 1:
            followers = by_one[last]

        drawn = followers[int(rng.integers(len(followers)))]
        if drawn == END:
            return np.array(tokens) if tokens else None

        tokens.append(drawn)
        before, last = last, drawn
    return None
