"""Names that people give to their methods: `Ours` in tables, pictures and reports, whatever the run was made of.

A name is kept with its run (`fedlt run --name Ours`) and is no part of the scenario. It stands where the strategy would
stand. Where runs have names, a comparison calls that column `method`, and the name says all: what the run's other keys
are tells nobody more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING

from fedlt.comparing.run_keys import Keys, differing, is_setting, lookup, run_keys
from fedlt.comparing.short_names import as_typed, shortened
from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError

if TYPE_CHECKING:
    from fedlt.results.runs import Run

METHOD = "method"
"""The key of what a method is called: a run's name, or else its strategy."""

Labels = tuple[str, ...]


def default_keys(keys: Sequence[Keys], own: Sequence[str] = ()) -> tuple[str, ...]:
    """The keys that tell methods apart: the strategy, and all others in which the runs differ.

    The keys then tell those without a name apart.

    Args:
        own: the runs' names, "" for one without.
    """
    bare = [found for found, name in zip(keys, own, strict=True) if not name] if any(own) else keys
    varied = (key for key in differing(bare) if not is_setting(key))
    return tuple(dict.fromkeys([METHOD if any(own) else "strategy", *(k for k in varied if k != "strategy")]))


def labels_of(found: Keys, by: Sequence[str], name: str = "", alone: bool = False) -> Labels:
    """The values of the keys `by` of one run.

    Args:
        name: its own.
        alone: whether it stands for all other values, too.
    """
    if name and alone:
        return tuple(name if key == METHOD else "-" for key in by)
    method = name or lookup(found, "strategy")
    return tuple(method if key in (METHOD, "strategy") else lookup(found, key) for key in by)


def renamed(runs: Sequence[Run], names: Mapping[str, str]) -> list[Run]:
    """The runs, those with other names that `names` gives one: by a row's name in a comparison, by a strategy or a
    learner as it is typed (`./balanced.py:Balanced`) or shown (`Balanced`), or by the name so far.

    Raises:
        ScenarioError: for what no run is called.
    """
    keys = shortened(runs, [run_keys(run) for run in runs])
    by = default_keys(keys)
    words = [
        dict.fromkeys([run.name, " ".join(labels_of(found, by)), lookup(found, "strategy"), lookup(found, "learner")])
        for run, found in zip(runs, keys, strict=True)
    ]
    known = [name for mine in words for name in mine if name]
    given: dict[int, str] = {}
    problems = []
    for typed, name in names.items():
        old = as_typed(typed, known)
        fitting = [index for index, mine in enumerate(words) if old in mine]
        if not old or not fitting:
            problems.append(Problem("--name", f"no run is called {typed!r}{suggest(typed, known)}"))
        given |= dict.fromkeys(fitting, checked_name(name))

    if problems:
        raise ScenarioError(problems, source="the names")
    return [called(run, given[index]) if index in given else run for index, run in enumerate(runs)]


def parse_names(texts: Sequence[str]) -> dict[str, str]:
    """The names in `./balanced.py:Balanced=Ours`, by what they stand for."""
    names = {}
    for text in texts:
        old, equals, name = text.partition("=")
        if not equals:
            message = f"expected what a row is called and its name, ./balanced.py:Balanced=Ours, got {text!r}"
            raise ScenarioError(Problem("--name", message))
        names[old.strip()] = checked_name(name)
    return names


def checked_name(name: str) -> str:
    """The name without spaces around it.

    Raises:
        ScenarioError: for one that cannot stand in a table.
    """
    name = name.strip()
    if not name or name == "-" or not name.isprintable():
        raise ScenarioError(Problem("--name", f"expected a word or a few, in one line, got {name!r}"))
    return name


def called(run: Run, name: str) -> Run:
    """The same run under another name, which is written nowhere."""
    other = copy(run)
    other.summary = {**run.summary, "name": name}
    return other
