"""What the benchmarks of long and short texts read, and that their claims fail where a table says otherwise."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.text import catalogue, headlines, shortening
from benchmarks.text.one_site import Cell

ROWS = [
    ("train", "a", "One two, two"),
    ("train", "a", "one three"),
    ("train", "b", "one two"),
    ("test", "b", "Two four"),
]


def cell(value: float) -> Cell:
    return Cell({}, {"accuracy": [value, value]})


def test_rare_words_are_those_of_few_training_texts() -> None:
    assert [text for *_, text in shortening.without_rare(ROWS)] == ["One ,", "one", "one", ""]
    often = [*ROWS, ("train", "b", "two")]
    assert [text for *_, text in shortening.without_rare(often)] == ["One two , two", "one", "one two", "Two", "two"]


def test_as_many_random_words_are_taken_out_as_stop_words_are() -> None:
    rows = [("train", "a", "the bus and the train were late in town ")] * 300  # five of nine are stop words
    left = Counter(word for *_, text in shortening.without_random(rows, 0) for word in text.split())
    assert left.total() == pytest.approx(4 * 300, rel=0.05)
    assert left["the"] == pytest.approx(2 * 300 * 4 / 9, rel=0.15)


def test_joined_headlines_differ_in_length_alone() -> None:
    rows = [("train", label, f"{label}{place}") for place in range(35) for label in "ab"]
    texts = {many: list(headlines.joined(rows, many, seed=0)) for many in headlines.JOINED}
    assert {many: len(each) for many, each in texts.items()} == dict.fromkeys(headlines.JOINED, 4)
    for one, *others in zip(*texts.values(), strict=True):
        assert all(other[1] == one[1] and other[2].startswith(one[2]) for other in others)
        assert all(word[0] == one[1] for word in others[-1][2].split()) and len(others[-1][2].split()) == 16
    with_others = list(headlines.joined(rows, 4, seed=0, others=True))
    assert [text.split()[0] for *_, text in with_others] == [text for *_, text in texts[1]]
    assert all(len(text.split()) == 4 for *_, text in with_others)
    assert {word[0] for *_, text in with_others for word in text.split()[1:]} == {"a", "b"}


def test_the_claims_of_the_catalogue() -> None:
    equal = dict.fromkeys(catalogue.CATALOGUE, 70.0)
    better = equal | {"chunk, mean": 71.0, "window attention": 71.0}
    assert [holds for _, holds in catalogue.claims({name: cell(v) for name, v in better.items()})] == [True] * 4
    assert [holds for _, holds in catalogue.claims({name: cell(v) for name, v in equal.items()})] == [
        True, True, False, False,
    ]  # fmt: skip


def test_the_claims_of_shortening() -> None:
    values = dict(zip(shortening.SETTINGS, (60.0, 62.0, 61.0, 60.9, 61.9, 66.0, 67.0, 68.5), strict=True))

    def said(**changes: float) -> list[bool]:
        names = {
            "stop": ("stop words", 64),
            "rare": ("rare words", 64),
            "signs": ("signs", 64),
            "twice": ("stop words", 128),
        }
        found = values | {names[name]: value for name, value in changes.items()}
        cells = {("mtsamples", "transformer", *setting): cell(value) for setting, value in found.items()}
        return [holds for _, holds in shortening.claims(cells)]

    assert said() == [True, True, True, True, False]
    assert said(stop=61.8, signs=60.5) == [False, False, True, True, True]
    assert said(rare=61.0, twice=66.9) == [True, True, False, False, False]


def test_the_claims_of_headlines() -> None:
    values = {"first 2": 40.0, "first 4": 50.0, "first 8": 60.0, "headline": 65.0}
    values |= {"joined 1": 50.0, "joined 4": 70.0, "joined 16": 80.0, headlines.WITH_OTHERS: 50.0}

    def said(**changes: float) -> list[bool]:
        return [holds for _, holds in headlines.claims({name: cell(v) for name, v in (values | changes).items()})]

    assert said() == [True, True, True]
    assert said(headline=59.0) == [False, True, True]
    assert said(**{"joined 4": 81.0}) == [True, False, True]
    assert said(**{headlines.WITH_OTHERS: 50.1}) == [True, True, False]
    assert said(paragraphs=64.0) == [False, True, True]
