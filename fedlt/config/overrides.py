"""Changes of a scenario as Python has them: every entry of a dictionary is the override that a command line takes.

    as_words([{"strategy": "fedprox", "strategy.mu": 0.1, "federation": {"rounds": 5}}, "~local.augment"])
    -> ["strategy=fedprox", "strategy.mu=0.1", "federation.rounds=5", "~local.augment"]

So there is one way to read them, one to label the runs of a sweep by them, and one to repeat a run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from fedlt.errors import Problem, ScenarioError

Override = str | Mapping[str, Any]
"""`key=value` or `~key`; or keys and values, of which a nested dictionary names the keys within its section."""


class Sections(TypedDict, total=False):
    """Changes as keyword arguments: the keys at the top of a scenario."""

    data: Any
    federation: Any
    local: Any
    model: Any
    strategy: Any
    learner: Any
    init_from: Any
    evaluation: Any
    resources: Any
    seed: Any


_PLAIN = re.compile(r"[A-Za-z_./][\w./:+-]*")
_OTHERWISE_READ = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
"""Words that YAML does not read as texts, of whatever case."""


def as_words(overrides: Iterable[Override | Iterable[Override]], several: bool = False) -> list[str]:
    """The overrides as a command line has them.

    Args:
        several: a list stands for the values that a sweep takes in turn; a value that is a list itself stands in
            another one.

    Raises:
        ScenarioError: with all values that no scenario can hold.
    """
    words: list[str] = []
    problems: list[Problem] = []

    for override in overrides:
        if isinstance(override, str):
            words.append(override)
        elif isinstance(override, Mapping):
            for key, value in _entries(override, "", several, problems):
                words.append(f"{key}={value}")
        elif isinstance(override, Iterable):
            words += as_words(override, several)
        else:
            problems.append(Problem("", f"expected key=value or a dictionary as an override, got {override!r}"))

    if problems:
        raise ScenarioError(problems, source="the overrides")
    return words


def _entries(
    changes: Mapping[Any, Any], prefix: str, several: bool, problems: list[Problem]
) -> Iterator[tuple[str, str]]:
    """Dotted keys with their values as text. A dictionary with a name is a component with its options: one value."""
    for key, value in changes.items():
        where = f"{prefix}{key}"

        if not isinstance(key, str) or not key or "=" in key or key.startswith("~"):
            problems.append(Problem(where, "expected the name of a key; ~key stands as a text beside the dictionary"))
        elif isinstance(value, Mapping) and "name" not in value:
            yield from _entries(value, f"{where}.", several, problems)
        elif several and isinstance(value, list | tuple | range) and not value:
            problems.append(Problem(where, "an empty list: there is nothing to run"))
        else:
            values = value if several and isinstance(value, list | tuple | range) else [value]
            try:
                yield where, ",".join([as_text(each) for each in values])
            except TypeError as error:
                problems.append(Problem(where, str(error)))


def as_text(value: Any) -> str:
    """A value as a command line has it, which YAML reads back as it was; a class or a component by its name.

    Raises:
        TypeError: for what no scenario can hold.
    """
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else f"{'-' if value < 0 else ''}.{abs(value)}"
    if isinstance(value, Path):
        return as_text(str(value) if value.is_absolute() or str(value).startswith((".", "~")) else f"./{value}")
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _OTHERWISE_READ and not value.endswith(":")
        return value if plain and not _is_number(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_text(str(key))}: {as_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple | range):
        return "[" + ", ".join(map(as_text, value)) + "]"
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of NumPy's or PyTorch's
        return as_text(value.item())
    from fedlt.config.own_class import named  # late: most changes name no class

    name = named(value)
    if name is not None:
        return as_text(name)
    raise TypeError(f"expected a number, a text, a list or a dictionary, got {_shown(value)}")


def _is_number(text: str) -> bool:
    """Whether YAML, or OmegaConf's reading of it, may take the text for a number: `.5`, `.inf`, `nan`."""
    try:
        float(text.replace("_", "").lstrip("."))
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    """What a value is, in words."""
    return f"an object of {type(value).__module__}.{type(value).__qualname__}"
