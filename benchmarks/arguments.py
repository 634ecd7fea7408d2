"""What the commands of several benchmarks take alike."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from fedlt.commands.shared import parse_seeds
from fedlt.errors import ScenarioError


def seeds_of(text: str) -> list[int]:
    """The seeds of `0-2` or `0,3,7`, for an argument's `type`."""
    try:
        return parse_seeds(text)
    except ScenarioError as error:
        raise argparse.ArgumentTypeError(error.problems[0].message) from error


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """For the `type` of an argument that takes any number of these words: `choices` would ask for one of them."""
    words = list(known)

    def checked(word: str) -> str:
        if word not in words:
            raise argparse.ArgumentTypeError(f"no {word!r} is known; there are {', '.join(words)}")
        return word

    return checked
