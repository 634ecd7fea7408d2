"""How the code reads, held to limits: the steps of functions stand apart, and docstrings tell enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.readability import Reading, read

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fedlt", "clients", "server", "strategies")

# Of the functions of 15 lines or more, those that have neither a blank line nor a comment.
MOST_AIRLESS = 0.10

# Lines of docstrings for each line of code, over all packages.
FEWEST_DOCSTRINGS = 0.35


@pytest.fixture(scope="module")
def readings() -> dict[str, Reading]:
    return {package: read(ROOT / package) for package in PACKAGES}


def test_long_functions_have_air(readings: dict[str, Reading]) -> None:
    for package, reading in readings.items():
        names = ", ".join(f"{function.place} {function.name}" for function in reading.airless)
        assert reading.share < MOST_AIRLESS, f"{package} has {len(reading.airless)} airless functions: {names}"


def test_docstrings_tell_enough(readings: dict[str, Reading]) -> None:
    code = sum(reading.code for reading in readings.values())
    docstrings = sum(reading.docstrings for reading in readings.values())
    assert docstrings / code > FEWEST_DOCSTRINGS


SOURCE = '''"""Of the module.

Two lines and a blank one.
"""


def airless(x):
    """In short."""
    a = x
    b = a
    return a, b


def airy(x):
    a = x  # twice

    return a
'''


def test_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.readability.LONG", 4)
    reading = Reading()
    reading.add(SOURCE, "own.py")
    assert (reading.modules, reading.code, reading.comments, reading.docstrings) == (1, 7, 1, 5)
    assert [(each.place, each.name, each.lines) for each in reading.long] == [
        ("own.py:7", "airless", 4),
        ("own.py:14", "airy", 4),
    ]
    assert [each.name for each in reading.airless] == ["airless"]
    assert reading.share == 0.5
