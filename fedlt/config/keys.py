"""Every key that a scenario may have, and which of them a person meant who wrote another.

The keys are read from the source text of the sections, so that nothing is imported. A short form (`rounds=5`) means
every key that ends in it; so does a near spelling, and a word that others use (`learning_rate`).
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from fedlt.config import catalog
from fedlt.config.component import Component
from fedlt.config.schema import Field, component_kind, suggest
from fedlt.config.source import class_literal, dataclass_fields, read
from fedlt.errors import ScenarioError

ALSO = {
    "algorithm": "strategy", "arch": "model", "backbone": "model", "batch": "local.batch_size",
    "bs": "local.batch_size",
    "communication_rounds": "federation.rounds", "dataset": "data.name", "global_rounds": "federation.rounds",
    "if": "data.longtail.imbalance_factor", "imb_factor": "data.longtail.imbalance_factor",
    "learning_rate": "local.lr", "local_epochs": "local.epochs", "loss": "learner", "method": "strategy",
    "net": "model", "network": "model", "wd": "local.weight_decay",
}  # fmt: skip
"""Words of other programs for our keys, where their spelling does not tell."""

MOST = 4
"""So many keys are suggested at most."""


@lru_cache(maxsize=1)
def scenario_keys() -> tuple[Field, ...]:
    """Every key of a scenario by its full name, such as `local.lr`, in the order of the sections."""
    return tuple(_keys("Scenario", ""))


def section_names() -> dict[str, str]:
    """Every section of a scenario, such as `data.longtail`, and the line about it."""
    return {name: (ast.get_docstring(node) or "").partition("\n")[0] for name, node in _sections()}


def component_keys(content: Any) -> dict[str, Component]:
    """The keys that hold a component (`federation.partition`), each with the one that the scenario chose.

    Args:
        content: a scenario's plain dictionaries, however incomplete.
    """
    components = {}
    for key in scenario_keys():
        holds = kind(key)
        if holds and "list[" not in key.annotation:
            given = _at(content, key.name)
            given = given.get("name", key.default) if isinstance(given, dict) else given or key.default
            if not isinstance(given, str):
                continue  # told where the choice itself is read
            try:
                components[key.name] = catalog.find(holds, given)
            except (ScenarioError, TypeError):  # told there, too
                continue
    return components


def meant(word: str, value: Any = None, content: Any = None) -> list[str]:
    """The keys that a person may have meant by `word`, the likeliest first.

    Args:
        value: what was given for it; a section is meant only by keys and values, or where one value stands for it.
        content: the scenario, whose components have keys too.
    """
    asked = word.replace("-", "_").lower()
    known = _candidates(value, content)
    last = asked.rpartition(".")[2]
    words = {part for part in last.split("_") if part not in ("", "n", "num", "number", "of")}

    if asked in known:
        return [asked]
    exact = [key for key in known if key.rpartition(".")[2] == last]
    if not exact and last in ALSO:
        exact = [ALSO[last]]
    if not exact:
        exact = [key for key in known if _shares_words(words, key)]
    if not exact:
        ends = {key.rpartition(".")[2] for key in known}
        near = difflib.get_close_matches(last, ends, n=1, cutoff=0.7)
        exact = near if set(near) & set(known) else [key for key in known if key.rpartition(".")[2] in near]

    # Those of the very section that was named, if there are; else those that lie less deep come first.
    section = asked.rpartition(".")[0]
    inside = [key for key in exact if section and key.rpartition(".")[0] == section]
    return inside or sorted(exact, key=lambda key: key.count("."))[:MOST]


def did_you_mean(word: str, value: Any, content: Any, known: Mapping[str, Any]) -> str:
    """The end of the sentence about an unknown key: the keys to write in its place, with the value that was given.

    Args:
        known: the keys of the section in which it stands; they are listed where none is near.
    """
    last = word.rpartition(".")[2]
    if not isinstance(value, dict):
        for section, node in _sections():
            if section.rpartition(".")[2] == last and not _shorthand(node):
                inside = [key.name for key in scenario_keys() if key.name.startswith(f"{section}.")]
                return f"; its keys are {', '.join(inside)}"

    candidates = meant(word, value, content)
    if candidates:
        return f"; did you mean {' or '.join(' '.join(assignments(key, value)) for key in candidates)}?"

    owners = key_owners(last)
    if owners:
        ways = (f"{'/'.join(assignments(f'{key}.{last}', value))} with {key}={' or '.join(names)}"
                for key, names in owners.items())  # fmt: skip
        return f"; did you mean {', or '.join(ways)}?"
    return suggest(word, known)


def assignments(key: str, value: Any) -> Iterator[str]:
    """What sets a key on the command line: `local.lr=0.1`; a part for each of several keys."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from assignments(f"{key}.{name}", inner)
    else:
        yield f"{key}={value if isinstance(value, str) else json.dumps(value, default=str)}"


def key_owners(name: str) -> dict[str, list[str]]:
    """Where built-in components have a key of this name: the key that chooses them -> their names."""
    return _owners().get(name, {})


@lru_cache(maxsize=1)
def _owners() -> dict[str, dict[str, list[str]]]:
    """Keys of components -> the key that chooses such a component -> the names of those that have it."""
    owners: dict[str, dict[str, list[str]]] = {}
    for key in scenario_keys():
        holds = kind(key)
        for component in catalog.names(holds) if holds and "list[" not in key.annotation else ():
            for field in catalog.find(holds, component).fields:
                owners.setdefault(field.name, {}).setdefault(key.name, []).append(component)
    return owners


def kind(key: Field) -> str:
    """The kind of component that a key holds; "" for plain values."""
    return component_kind(key.annotation.replace("list[Choice]", "Choice"))


def _shares_words(parts: set[str], key: str) -> bool:
    """`imbalance` and `imbalance_factor`, `num_clients` and `clients`: all words of one are among the other's."""
    own = set(key.rpartition(".")[2].split("_"))
    return bool(parts) and (parts <= own or own <= parts)


def _candidates(value: Any, content: Any) -> list[str]:
    """Names of keys that may have been meant where an unknown one has this value.

    Args:
        content: of the scenario, whose components have keys, too.
    """
    names = [key.name for key in scenario_keys()]
    for name, node in _sections():
        if isinstance(value, dict) or _shorthand(node):
            names.append(name)
    for key, component in component_keys(content).items():
        names += [f"{key}.{field.name}" for field in component.fields]
    return names


def _at(content: Any, key: str) -> Any:
    """What a scenario's plain dictionaries hold at `federation.partition`; None where there is nothing."""
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _shorthand(section: ast.ClassDef) -> str:
    """The key for which a single value stands in the place of the section; "" where none does."""
    return class_literal(_source()[section.name][0], section, "shorthand") or ""


@lru_cache(maxsize=1)
def _source() -> dict[str, tuple[ast.Module, dict[int, str], ast.ClassDef]]:
    """The classes of the sections, each with the module that it stands in and that module's comments."""
    sources = [read(catalog.ROOT / "fedlt" / "config" / name) for name in ("scenario.py", "sections.py")]
    return {
        node.name: (*source, node) for source in sources for node in source[0].body if isinstance(node, ast.ClassDef)
    }


def _keys(section: str, prefix: str) -> Iterator[Field]:
    """The keys of a section and of those within it.

    Args:
        prefix: of their names, with a dot at its end.
    """
    for field in dataclass_fields(*_source()[section]):
        key = f"{prefix}{field.name}"
        if field.annotation in _source():
            yield from _keys(field.annotation, f"{key}.")
        elif key != "name":
            yield replace(field, name=key)


@lru_cache(maxsize=1)
def _sections() -> tuple[tuple[str, ast.ClassDef], ...]:
    """Every section by its full name, with its class."""
    return tuple(_inside("Scenario", ""))


def _inside(section: str, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for found in dataclass_fields(*_source()[section]):
        if found.annotation in _source():
            yield f"{prefix}{found.name}", _source()[found.annotation][2]
            yield from _inside(found.annotation, f"{prefix}{found.name}.")
