"""Texts become whole numbers, in an order that people expect; what is neither is refused with the remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.errors import Problem, ScenarioError

UNLEARNT = "leave those rows out of the test set, or give the training set some of that class"
"""What to do with labels that only the test set has: nothing can learn them."""

_DIGITS = re.compile(r"([0-9]+)")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def refuse(message: str, key: str = "data.name") -> ScenarioError:
    """The error of a data set that cannot be used."""
    return ScenarioError(Problem(key, message))


def ordered(texts: NDArray[np.str_]) -> list[str]:
    """The different texts in alphabetical order, where numbers in them count as numbers: a2 before a10, -1 before 0.5.

    Args:
        texts: [N].
    """
    distinct = [str(text) for text in np.unique(texts)]
    if all(_NUMBER.fullmatch(text) for text in distinct):
        return sorted(distinct, key=lambda text: (float(text), text))

    # Texts and numbers take turns in what `split` returns, so that equal places hold equal types.
    def parts(text: str) -> list[Any]:
        return [int(part) if place % 2 else part for place, part in enumerate(_DIGITS.split(text))]

    return sorted(distinct, key=lambda text: (parts(text), text))


def held_as(values: NDArray[Any]) -> str:
    """What values that are no whole numbers are, as a verb and its object, with the remedy."""
    if values.dtype.kind == "f":
        missing = int(np.isnan(values).sum())
        if missing:
            return f"have {missing} missing ones; fill them in first"
        odd = values[values != np.floor(values)]
        if len(odd):
            return f"are decimal numbers such as {odd[0]:g}; give each its own text or whole number"
        return f"are stored as decimal numbers ({values[0]:.1f}); store them as whole numbers"

    names = {
        "b": "are true or false; write 0 and 1",
        "M": "are dates; write them as texts",
        "S": "are bytes; decode them",
    }
    return names.get(values.dtype.kind, f"are of type {values.dtype}; write them as texts")


def as_texts(name: str, what: str, values: NDArray[Any]) -> NDArray[np.str_]:
    """Labels as an array of texts.

    Args:
        name, what: of the data set, and what of it the values are, for messages.

    Raises:
        ScenarioError: where a value is missing, or is no text.
    """
    if not all(isinstance(value, str) for value in values):
        missing = sum(value is None or (isinstance(value, float) and np.isnan(value)) for value in values)
        problem = f"have {missing} missing values" if missing else "mix texts with other values"
        raise refuse(f"{name}: {what} {problem}; fill them in first")
    return values.astype(np.str_)


def coded(name: str, what: str, values: NDArray[Any], known: Sequence[str]) -> NDArray[np.int64]:
    """Texts as the numbers of the known ones.

    Args:
        name, what: as in `as_texts`.
        known: all texts that there may be, in the order of their numbers.

    Raises:
        ScenarioError: for a text that is not among them.
    """
    texts = as_texts(name, what, values)
    codes = {text: code for code, text in enumerate(known)}
    distinct, inverse = np.unique(texts, return_inverse=True)
    unknown = [str(text) for text in distinct if str(text) not in codes]
    if unknown:
        lacks = f"{what} of the test set hold {unknown[0]!r}, which the training set lacks"
        raise refuse(f"{name}: {lacks}; {UNLEARNT}")
    return np.array([codes[str(text)] for text in distinct], np.int64)[inverse]


def numeric(texts: Sequence[str]) -> bool:
    """Whether all texts are numbers, so that `ordered` orders them by size."""
    return all(_NUMBER.fullmatch(text) for text in texts)


def refuse_beyond(
    name: str, split: str, labels: NDArray[Any], classes: int, named: int, key: str = "data.name"
) -> None:
    """Refuse labels that are whole numbers, but not in 0..classes-1.

    Args:
        name: of the data set, for the message.
        split: `training` or `test`, likewise.
        labels: [N] of one split.
        classes: C.
        named: how many classes the data name; 0: their number follows from the training labels.
        key: under which it is refused.

    Raises:
        ScenarioError: naming one of them and the remedy.
    """
    odd = labels[(labels < 0) | (labels >= classes)]
    if not len(odd):
        return
    if split == "test" and odd.min() >= classes and not named:
        told = f"labels of the test set hold {odd.min()}, and those of the training set end at {classes - 1}"
        raise refuse(f"{name}: {told}; {UNLEARNT}", key)
    of = f", since the data name {classes} classes" if named else ""
    remedy = "name all classes, or renumber them" if named else "renumber the classes from 0 on"
    raise refuse(f"{name}: {split} labels must lie in 0..{classes - 1}{of}, got {odd[0]}; {remedy}", key)


Lists = Sequence[Sequence[Any]]


def as_lists(values: NDArray[Any]) -> Lists | None:
    """A column of lists, [N] objects, as lists; None for all else."""
    if values.ndim != 1 or values.dtype.kind != "O" or not len(values):
        return None
    if not all(isinstance(value, list | tuple | np.ndarray) for value in values):
        return None
    return [list(value) for value in values]


def list_classes(
    name: str, train: Lists, test: Lists, class_names: Sequence[str]
) -> tuple[list[list[list[int]]], tuple[str, ...]]:
    """Lists of classes as numbers.

    Args:
        name: of the data set, for messages.
        train: a list of classes for each training row: texts, or whole numbers 0..C-1.
        test: likewise; it may have no class that the training rows lack.
        class_names: those that the data or the scenario name; empty: sorted texts, or the numbers.

    Returns:
        The lists of both splits as numbers, and the names of the classes.

    Raises:
        ScenarioError: for all else.
    """
    flat = [np.array([value for row in rows for value in row], object) for rows in (train, test)]
    if any(isinstance(value, str) for value in flat[0]):
        known = list(class_names) or ordered(as_texts(name, "the labels", flat[0]))
        numbers = [coded(name, "the labels", part, known) for part in flat]
    else:
        odd = [value for part in flat for value in part if not isinstance(value, int | np.integer)]
        if odd:
            raise refuse(f"{name}: classes must be texts or whole numbers, got {odd[0]!r}; mend them", "data.targets")
        numbers = [part.astype(np.int64) for part in flat]
        known = list(map(str, class_names)) or [str(number) for number in range(int(numbers[0].max(initial=-1)) + 1)]

    for split, part in zip(("training", "test"), numbers, strict=True):
        refuse_beyond(name, split, part, len(known), len(class_names), "data.targets")
    ends = [np.cumsum([len(row) for row in rows])[:-1] for rows in (train, test)]
    parts = [np.split(part, end) for part, end in zip(numbers, ends, strict=True)]
    return [[row.tolist() for row in part] for part in parts], tuple(known)
