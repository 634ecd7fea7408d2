"""Arguments that several benchmarks take."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.arguments import one_of, seeds_of


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="measure")
    parser.add_argument("settings", nargs="*", type=one_of(["one", "two"]))
    parser.add_argument("--seeds", type=seeds_of, default="0-2")
    return parser


def test_any_number_of_known_words_and_seeds_are_taken() -> None:
    assert vars(_parser().parse_args([])) == {"settings": [], "seeds": [0, 1, 2]}
    assert vars(_parser().parse_args(["two", "one", "--seeds", "3,5"])) == {"settings": ["two", "one"], "seeds": [3, 5]}


@pytest.mark.parametrize(
    ("words", "said"), [("three", "no 'three' is known; there are one, two"), ("--seeds 3-1", "names no seed: '3-1'")]
)
def test_what_is_not_known_is_told_in_a_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        _parser().parse_args(words.split())
    assert said in capsys.readouterr().err.splitlines()[-1]
