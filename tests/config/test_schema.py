"""Checking one value against one annotation, both as they stand in the source."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fedlt.config.schema import Mismatch, alternatives, check, suggest

FITS: list[tuple[str, Any, Any]] = [
    ("int", 3, 3),
    ("int", -3, -3),
    ("float", 0.5, 0.5),
    ("float", 1, 1.0),
    ("str", "", ""),
    ("bool", False, False),
    ("None", None, None),
    ("Any", [1, "x"], [1, "x"]),
    ("int | None", None, None),
    ("int | None", 4, 4),
    ("int | float", 4, 4),
    ("float | int", 4, 4.0),
    ("str | int", "4", "4"),
    ("Literal['a', 'b']", "b", "b"),
    ("Literal['a', None]", None, None),
    ("Literal[1, 2]", 2, 2),
    ("Literal[True]", True, True),
    ("Annotated[int, '>= 1']", 1, 1),
    ("Annotated[float, '> 0', '<= 1']", 1, 1.0),
    ("typing.Annotated[float, '< 1']", 0.999, 0.999),
    ("Annotated[int, '>= 1'] | Literal['auto']", "auto", "auto"),
    ("Annotated[int, '>= 1'] | None", None, None),
    ("list[int]", [1, 2], [1, 2]),
    ("list[int]", [], []),
    ("list", [1, "x"], [1, "x"]),
    ("list[float]", [1, 2.5], [1.0, 2.5]),
    ("tuple[float, ...]", (1, 2), (1.0, 2.0)),
    ("dict[str, float]", {"a": 1}, {"a": 1.0}),
    ("dict", {"a": 1}, {"a": 1}),
    ("list[int] | str | None", "counts.txt", "counts.txt"),
    ("list[Annotated[int, '> 0']]", [1], [1]),
]

MISFITS: list[tuple[str, Any, str]] = [
    ("int", True, "expected a whole number, got True"),
    ("int", 1.0, "expected a whole number, got 1.0"),
    ("int", "1", "expected a whole number, got '1'"),
    ("int", None, "expected a whole number, got None"),
    ("float", True, "expected a number, got True"),
    ("float", math.nan, "expected a number, got nan"),
    ("float", math.inf, "expected a number, got inf"),
    ("float", -math.inf, "expected a number, got -inf"),
    ("float", "0.1", "expected a number, got '0.1'"),
    ("str", 5, "expected a text, got 5"),
    ("bool", 1, "expected true or false, got 1"),
    ("bool", "yes", "expected true or false, got 'yes'"),
    ("None", 0, "expected null, got 0"),
    ("int | None", "x", "expected a whole number or null, got 'x'"),
    ("Literal['crop', 'flip']", "cropp", "expected one of crop, flip, got 'cropp'; did you mean 'crop'?"),
    ("Literal['crop', 'flip']", "zzz", "expected one of crop, flip, got 'zzz'"),
    ("Literal[1, 2]", True, "expected one of 1, 2, got True"),
    ("Literal[True]", 1, "expected one of True, got 1"),
    ("Annotated[int, '>= 1']", 0, "expected a whole number >= 1, got 0"),
    ("Annotated[float, '> 0', '< 1']", 0, "expected a number > 0 and < 1, got 0.0"),
    ("Annotated[float, '> 0', '< 1']", 1.0, "expected a number > 0 and < 1, got 1.0"),
    ("Annotated[float, '<= 1']", 1.001, "expected a number <= 1, got 1.001"),
    ("Annotated[float, '> 0']", "x", "expected a number, got 'x'"),
    ("Annotated[int, '>= 1'] | None", 0, "expected a whole number >= 1 or null, got 0"),
    ("Annotated[int, '>= 1'] | Literal['auto']", "atuo", "expected a whole number >= 1 or one of auto, got 'atuo'"),
    ("list[int]", [1, "x"], "expected a whole number, got 'x'"),
    ("list[int]", 3, "expected a list, got 3"),
    ("list[str]", "abc", "expected a list, got 'abc'"),
    ("list", {}, "expected list, got {}"),
    ("tuple[float, ...]", {"a": 1}, "expected a tuple, got {'a': 1}"),
    ("dict[str, int]", {"a": "b"}, "expected a whole number, got 'b'"),
    ("dict[str, int]", [1], "expected a dict, got [1]"),
    ("list[int] | str | None", 3.5, "expected a list or a text or null, got 3.5"),
    ("list[Annotated[int, '> 0']]", [1, 0], "expected a whole number > 0, got 0"),
]


@pytest.mark.parametrize(("annotation", "value", "result"), FITS)
def test_what_fits_is_returned_with_the_annotated_type(annotation: str, value: Any, result: Any) -> None:
    found = check(annotation, value)
    assert found == result
    assert type(found) is type(result)
    if isinstance(result, list):
        assert [type(item) for item in found] == [type(item) for item in result]


@pytest.mark.parametrize(("annotation", "value", "message"), MISFITS)
def test_what_does_not_fit_is_refused_in_words(annotation: str, value: Any, message: str) -> None:
    with pytest.raises(Mismatch) as caught:
        check(annotation, value)
    assert str(caught.value) == message


def test_an_unknown_type_is_left_to_the_component() -> None:
    value = object()
    assert check("Path", value) is value
    assert check("Callable[[int], int]", value) is value


def test_the_nearest_spelling_is_suggested_or_all_are_listed() -> None:
    assert suggest("fedprx", ["fedavg", "fedprox"]) == "; did you mean 'fedprox'?"
    assert suggest("zzz", ["fedprox", "fedavg"]) == "; known: fedavg, fedprox"
    assert suggest("zzz", []) == ""


@pytest.mark.parametrize(
    ("annotation", "value", "others"),
    [
        ("bool", False, [True]),
        ("int", 3, [6, 4]),
        ('Annotated[int, ">= 0", "<= 3"]', 3, [2]),
        ("float", 0.5, [1.0, 0.25]),
        ("float", 0.0, [1.0, -0.5]),
        ('Annotated[float, "> 0", "< 1"]', 0.5, [0.25]),
        ('Literal["sums", "means", "both"]', "means", ["sums", "both"]),
        ('Annotated[int, ">= 1"] | None', None, [1, 2]),
        ("str", "a text", []),
        ("list[int]", [1], []),
        ('Annotated[Strategy, "strategy"]', object(), []),
    ],
)
def test_other_values_near_one_fit_as_well(annotation: str, value: Any, others: list[Any]) -> None:
    assert alternatives(annotation, value) == others
