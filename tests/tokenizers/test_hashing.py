"""Tokens by their hash: which there are, which are kept, and that they are the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from fedlt.tokenizers.hashing import Hashing
from fedlt.tokenizers.tokenizer import cut
from fedlt.tokenizers.words import words


def tokens(text: str, **options: object) -> list[str]:
    """What is hashed, as texts."""
    made = Hashing(**options)  # type: ignore[arg-type]
    return list(made._tokens(made._words(text)))


def test_words_and_signs() -> None:
    assert words("Don't stop,  x_1 is 3.5!\n") == ["Don", "'", "t", "stop", ",", "x_1", "is", "3", ".", "5", "!"]
    assert words(" \t\n") == words("") == []


def test_marks_belong_to_their_word_in_any_script() -> None:
    assert words("नमस्ते दुनिया।") == ["नमस्ते", "दुनिया", "।"]
    assert words("été e\u0301te\u0301") == ["été", "été"]
    assert words("日本 語") == ["日本", "語"]


def test_n_grams_follow_the_word_that_ends_them() -> None:
    assert tokens("A b c", word_ngrams=3) == ["a", "b", "a b", "c", "b c", "a b c"]
    assert tokens("the", char_ngrams=3) == ["the", "#<th", "#the", "#he>"]
    assert tokens("a b", char_ngrams=4, lower=False) == ["a", "b"]


@pytest.mark.parametrize("options", [{}, {"word_ngrams": 3}, {"char_ngrams": 3}, {"word_ngrams": 2, "char_ngrams": 2}])
@pytest.mark.parametrize("keep", ["head", "tail", "both"])
@pytest.mark.parametrize("length", [1, 2, 5, 1000])
def test_what_is_kept_is_cut_from_all(options: dict[str, int], keep: str, length: int) -> None:
    text = "one two three two one, and so it goes."
    made = Hashing(length=length, keep=keep, **options)  # type: ignore[arg-type]
    everything = made.ids(text)
    assert made.kept(text) == (list(cut(everything, length, keep)), len(everything))


def test_the_ends_of_a_longer_text() -> None:
    letters = "abcdefg"
    assert [list(cut(letters, 3, keep)) for keep in ("head", "tail", "both")] == [[*"abc"], [*"efg"], [*"abg"]]
    assert cut(letters, 7, "tail") == letters


def test_ids_are_the_same_in_every_process() -> None:
    """The numbers themselves: a change of the hash would make every trained model read other words."""
    text = "Text: été नमस्ते"
    code = f"from fedlt.tokenizers.hashing import Hashing; print(Hashing().ids({text!r}))"
    here = str(Hashing().ids(text))
    assert here == "[31245, 26623, 17046, 19168]"
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_ids_leave_0_to_texts_without_a_token() -> None:
    made = Hashing(buckets=3)
    assert set(made.ids(" ".join(map(str, range(40))))) == {1, 2}
    assert made.kept(" ") == ([], 0) and made.empty == 0 and made.vocabulary == 3


def test_memory_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedlt.tokenizers.hashing.REMEMBERED", 2)
    made = Hashing()
    assert made.ids("a b c a b c") == [*Hashing().ids("a b c")] * 2
    assert len(made._buckets) <= 2


def test_a_text_of_ten_megabytes_is_quick() -> None:
    text = "words " * 1_700_000
    began = time.process_time()
    kept, total = Hashing(length=64, keep="both", word_ngrams=2).kept(text)
    assert (len(kept), total) == (64, 2 * 1_700_000 - 1)
    assert time.process_time() - began < 5


def test_ids_are_told_by_the_tokens_of_given_texts() -> None:
    tokenizer = Hashing(word_ngrams=2)
    named = tokenizer.named(["Wheat prices", "prices"])
    ids = list(tokenizer.ids("wheat prices"))
    assert [named[number] for number in ids] == ["wheat", "prices", "wheat prices"]
    assert Hashing(buckets=2).named(["ship wheat"]) == {1: "ship|wheat"}
