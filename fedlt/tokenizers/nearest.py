"""Which generated texts stay: those that are no copies, and lie near to their class.

Bayer, Kaufhold, Buchhold, Keller, Dallmeyer, Reuter: Data Augmentation in Natural Language Processing: A Novel Text
Generation Approach for Long and Short Text Classifiers. International Journal of Machine Learning and Cybernetics 2023.
There a text is known by a sentence encoder and a person looks at samples to set the distance; here it is known by its
tokens, each weighed by how few of the client's texts have it, and a share stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedlt.tokenizers.generator import Text, TextGenerator


class Nearness:
    """How near a text lies to each class of a client: cosines of tf-idf vectors with the mean of each class's.

    Attributes:
        texts: the client's own, by class.
    """

    def __init__(self, texts: Mapping[int, Sequence[Text]]) -> None:
        every = [np.unique(text) for own in texts.values() for text in own]
        self.tokens, holders = np.unique(np.concatenate(every), return_counts=True)
        self._rarity = np.log((1 + len(every)) / (1 + holders)) + 1
        self._unknown = np.log(1.0 + len(every)) + 1
        self.labels = list(texts)
        self._means = np.zeros((len(texts), len(self.tokens)))
        for row, own in zip(self._means, texts.values(), strict=True):
            for text in own:
                places, weights = self._vector(text)
                row[places] += weights
            row /= np.linalg.norm(row)

    def cosines(self, text: Text) -> NDArray[np.float64]:
        """[C] one for each of `labels`."""
        places, weights = self._vector(text)
        return self._means[:, places] @ weights  # type: ignore[no-any-return]

    def _vector(self, text: Text) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The places of a text's known tokens, and their weights in a vector of length 1 over all tokens."""
        tokens, counts = np.unique(text, return_counts=True)
        places = np.searchsorted(self.tokens, tokens).clip(max=len(self.tokens) - 1)
        known = self.tokens[places] == tokens
        weights = counts * np.where(known, self._rarity[places], self._unknown)
        weights /= np.linalg.norm(weights)
        return places[known], weights[known]


def generated(
    generator: TextGenerator, texts: Mapping[int, Sequence[Text]], length: int, rng: np.random.Generator
) -> dict[int, list[Text]]:
    """Further texts by class, for the classes that get some; never two alike, nor one of the client's own.

    Args:
        texts: the client's own, by class.
        length: tokens of the longest text.
    """
    seen = {text.tobytes() for own in texts.values() for text in own}
    nearness = Nearness(texts) if generator.keep < 1 else None
    largest = max(len(own) for own in texts.values())

    found = {}
    for label, own in texts.items():
        wanted = generator.wanted(len(own), largest)
        if not wanted:
            continue

        written = []
        for text in generator.texts(own, round(wanted / generator.keep), length, rng):
            if text.tobytes() not in seen:
                seen.add(text.tobytes())
                written.append(text)

        kept = written if nearness is None else nearest(written, label, nearness, generator.keep)
        if kept:
            found[label] = kept[:wanted]
    return found


def nearest(texts: Sequence[Text], label: int, nearness: Nearness, keep: float) -> list[Text]:
    """The share of the texts that lies nearest to their class, nearest first; without those nearer to another one."""
    place = nearness.labels.index(label)
    cosines = [nearness.cosines(text) for text in texts]
    order = sorted(range(len(texts)), key=lambda row: -cosines[row][place])[: round(keep * len(texts))]
    return [texts[row] for row in order if cosines[row].argmax() == place]
