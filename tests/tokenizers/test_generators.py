"""What generators write of a few texts, and which of it stays: chains, swaps, distances and copies by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from fedlt.tokenizers.generator import Text, TextGenerator
from fedlt.tokenizers.markov import Markov
from fedlt.tokenizers.nearest import Nearness, generated, nearest
from fedlt.tokenizers.swap_drop import SwapDrop


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def texts(*given: Sequence[int]) -> list[Text]:
    return [np.array(text) for text in given]


@dataclass(frozen=True)
class Reciting(TextGenerator):
    """Writes what it is told to, in turn."""

    lines: tuple[tuple[int, ...], ...] = ()

    def texts(self, own: Sequence[Text], count: int, length: int, rng: np.random.Generator) -> list[Text]:
        return texts(*(self.lines[place % len(self.lines)] for place in range(count)))


def test_two_words_decide_where_they_have_had_several_followers() -> None:
    """After (1, 2) stood 3 and 4, so 5, which has followed 2 only after 9, never does."""
    own = texts([1, 2, 3], [1, 2, 4], [9, 2, 5])
    written = {tuple(text.tolist()) for text in Markov().texts(own, 200, 10, rng())}
    assert {(1, 2, 3), (1, 2, 4)} <= written
    assert (1, 2, 5) not in written


def test_one_word_decides_where_two_would_only_copy() -> None:
    own = texts([1, 2, 3], [4, 2, 5])
    written = {tuple(text.tolist()) for text in Markov().texts(own, 200, 10, rng())}
    assert written == {(1, 2, 3), (1, 2, 5), (4, 2, 3), (4, 2, 5)}


def test_a_chain_that_does_not_end_in_time_is_left_out() -> None:
    own = texts([1, 1, 1, 1, 1, 1])
    written = Markov().texts(own, 100, 3, rng())
    assert 0 < len(written) < 100
    assert max(map(len, written)) <= 3
    assert min(map(len, written)) >= 1


def test_words_are_swapped_or_left_out() -> None:
    own = texts(range(1, 21))
    swapped, dropped = SwapDrop(rate=0.3).texts(own, 2, 20, rng())
    assert sorted(swapped) == [*range(1, 21)] and swapped.tolist() != own[0].tolist()
    assert 8 < len(dropped) < 20 and dropped.tolist() == sorted(dropped)
    alone = SwapDrop(rate=0.99).texts(texts([7]), 4, 20, rng())
    assert [text.tolist() for text in alone] == [[7]] * 4


def test_the_nearness_of_a_text_is_a_cosine_of_rare_words() -> None:
    near = Nearness({3: texts([1, 2]), 5: texts([2, 3])})
    rare, common = np.log(3 / 2) + 1, 1.0  # of two texts, one has word 1, and both have word 2
    size = np.hypot(rare, common)
    assert near.labels == [3, 5]
    assert near.cosines(np.array([1, 2])) == pytest.approx([1, common**2 / size**2])
    twice = np.hypot(2 * rare, common)
    assert near.cosines(np.array([1, 1, 2]))[0] == pytest.approx((2 * rare**2 + common**2) / size / twice)
    unknown = np.log(3.0) + 1
    assert near.cosines(np.array([1, 8]))[0] == pytest.approx(rare / size * rare / np.hypot(rare, unknown))


def test_the_nearest_stay_but_none_that_is_nearer_to_another_class() -> None:
    near = Nearness({0: texts([1, 2]), 1: texts([3, 4])})
    written = texts([1, 9], [1, 2, 2], [3, 4], [3, 3, 1], [1])
    assert [text.tolist() for text in nearest(written, 0, near, 0.4)] == [[1, 2, 2], [1]]
    assert [text.tolist() for text in nearest(written, 1, near, 1.0)] == [[3, 4], [3, 3, 1]]


def test_neither_own_texts_nor_the_same_twice_are_kept() -> None:
    own = {0: texts([1, 2], [1, 3]), 1: texts([4, 5])}
    writes = Reciting(up_to=100, least=1, keep=1.0, lines=((1, 2), (4, 5), (1, 1), (1, 1), (2, 1)))
    found = generated(writes, own, 8, rng())
    assert [text.tolist() for text in found[0]] == [[1, 1], [2, 1]]
    assert 1 not in found  # what it could have had is what class 0 has got already


@pytest.mark.parametrize(
    ("keys", "own", "wanted"),
    [
        ({}, 10, 20),  # up to the largest class, of 30
        ({}, 3, 15),  # five times its own
        ({}, 30, 0),
        ({}, 1, 0),
        ({"least": 1}, 1, 5),
        ({"times": 0.5}, 3, 1),
        ({"up_to": 12}, 10, 2),
        ({"up_to": 12}, 13, 0),
        ({"up_to": 100}, 30, 70),
    ],
)
def test_how_many_a_class_gets(keys: dict[str, float], own: int, wanted: int) -> None:
    assert Markov(**keys).wanted(own, 30) == wanted  # type: ignore[arg-type]


def test_so_many_more_are_written_as_the_filter_takes() -> None:
    @dataclass(frozen=True)
    class Counting(Markov):
        def texts(self, own: Sequence[Text], count: int, length: int, rng: np.random.Generator) -> list[Text]:
            asked.append(count)
            return super().texts(own, count, length, rng)

    asked: list[int] = []
    own = {0: texts(*([1, word] for word in range(10, 20))), 1: texts([2, 3], [2, 4])}
    generated(Counting(keep=0.25), own, 8, rng())
    assert asked == [32]  # a quarter of which are the eight that are wanting
