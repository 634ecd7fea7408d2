"""What a run was made of, by content: the data, and every file that its scenario names or imports from a user's folder.

    {"data.name": {"mine.npz": "9f86d0..."}, "strategy": {"mine.py": "60303a...", "helper.py": "fd61a0..."}}

Kept in `run.json` and in checkpoints. Names alone do not tell whether a run answers the same question: a file may be
mended, and two folders may hold files of one name. Not seen are folders that options name, files that a user's code
opens under names of its own, and modules that it imports under a name made up as it runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlt.config.component import Choice
from fedlt.data.count_file import file_of
from fedlt.data.digests import digests
from fedlt.data.encoded import KEY, recipe_of
from fedlt.data.known import EMBEDDED
from fedlt.data.sources import file_digests
from fedlt.errors import FedLTError, Problem, ScenarioError

if TYPE_CHECKING:
    from fedlt.config.scenario import Scenario

DATA, INITIAL = "data.name", "init_from"

MadeOf = Mapping[str, Mapping[str, str]]
"""Digests by key of the scenario and by file. A built-in component has no key, nor has a list of counts."""

Seen = dict[str, dict[str, str]]
"""Digests of data sets, by what they were asked for."""


def inputs_now(scenario: Scenario, made_of: MadeOf, seen: Seen | None = None) -> dict[str, dict[str, str]]:
    """What a run of the scenario would be made of, without reading the data set.

    Data that are not on this machine have no key.

    Args:
        made_of: what the run was made of that this is compared with; see `fedlt.data.sources.file_digests`.
        seen: what was found for data sets so far, for many scenarios of few.
    """
    data = made_of.get(DATA, {})
    known = {} if seen is None else seen
    key = str((scenario.data, data))
    if key not in known:
        try:
            known[key] = file_digests(scenario.data, data)
        except ScenarioError:
            known[key] = {}
    return ({DATA: known[key]} if known[key] else {}) | named_now(scenario)


def named_now(scenario: Scenario) -> dict[str, dict[str, str]]:
    """Digests of all files but the data's that the scenario names or imports."""
    data = scenario.data
    files = _named_file("data.longtail.counts", data.longtail.counts) | _named_file("data.noise.file", data.noise.file)
    files |= _named_file("data.server_unlabelled.file", data.server_unlabelled.file)
    files |= _named_file("data.shorten.stop_words", data.shorten.stop_words)
    return files | _initial_weights(scenario.init_from.names) | code_now(scenario) | _weights_now(scenario)


def _weights_now(scenario: Scenario) -> dict[str, dict[str, str]]:
    """Digests of the encoder's weights; none where the encoder is not on this machine, nor where it names no files."""
    if scenario.data.encoder is None:
        return {}
    with suppress(ScenarioError):
        _, weights = recipe_of(scenario.data)
        return {f"{KEY}.weights": weights} if weights else {}
    return {}


def code_now(scenario: Scenario) -> dict[str, dict[str, str]]:
    """Digests of the user's components and of the files that options of components name."""
    found: dict[str, dict[str, str]] = {}
    for key, choice in choices(scenario, ""):
        if files := choice.component.files():
            found[key] = _by_name(files, key)
        for option, value in choice.options.items():
            found |= _named_file(f"{key}.{option}", value)
    return found


def changes(made_of: MadeOf, now: MadeOf, what: str, remedy: str) -> list[Problem]:
    """A problem for each key whose files are others now; what cannot be found now is passed over (`missing`).

    Args:
        made_of: digests by key and file, as the run kept them.
        now: likewise, as they are.
        what: since when, in words, as `the run was made`.
        remedy: what to do.
    """
    problems = []
    for key, here in sorted(now.items()):
        there = made_of.get(key, here if key == DATA else {})
        if there != here:
            edited = [file for file in there if file in here and there[file] != here[file]]
            gone, new = [file for file in there if file not in here], [file for file in here if file not in there]
            parts = ((edited, "changed"), (new, "came into being"), (gone, "went away"))
            told = "; ".join(f"{_listed(files)} {how}" for files, how in parts if files)
            problems.append(Problem(key, f"{told} since {what}; {remedy}"))
    return problems


def refuse_changed(made_of: MadeOf, now: MadeOf, what: str, remedy: str) -> None:
    """Refuse to go on with files that are others now; what cannot be found now is passed over (`missing`).

    Args:
        made_of: digests by key and file, as the run kept them.
        now: likewise, as they are.
        what: since when, in words, as `the run was made`.
        remedy: what to do.

    Raises:
        ScenarioError: with all `changes`.
    """
    problems = changes(made_of, now, what, remedy)
    if problems:
        raise ScenarioError(problems, source="the files behind the names")


def in_short(inputs: MadeOf) -> str:
    """One digest of all."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def refuse_others(inputs: str, here: MadeOf) -> None:
    """Refuse to compute with other files than the server's.

    Args:
        inputs: digest of the server's; empty: any will do.
        here: digests by key and file of this machine's.

    Raises:
        FedLTError: naming the files.
    """
    if inputs not in ("", in_short(here)):
        files = ", ".join(_listed(list(held)) for held in here.values())
        raise FedLTError(f"a file of the run is not what it is at the server, or was edited: one of {files}")


def refuse_edited_code(made_of: MadeOf, scenario: Scenario) -> None:
    """Raise `ScenarioError` where a user's code was edited since the run began: it would be executed as it is now."""
    if made_of:
        now = code_now(scenario)
        begun = {key: made_of.get(key, {}) for key in now}
        refuse_changed(begun, now, "the run began", "run again")


def missing(made_of: MadeOf, now: MadeOf) -> list[str]:
    """The files of the keys that cannot be found now."""
    return [_listed(list(files)) for key, files in made_of.items() if key not in now]


def names_files(scenario: Mapping[str, Any]) -> bool:
    """Whether a scenario, as nested dictionaries, is of more than built-in parts."""
    data = scenario["data"]
    counts = data.get("longtail", {}).get("counts")
    other = [data.get(section, {}).get("file") for section in ("noise", "server_unlabelled")]
    partition = scenario["federation"]["partition"]
    holders = partition.get("file") if isinstance(partition, dict) else None
    named = isinstance(counts, str) or any(other) or bool(holders) or bool(scenario.get(INITIAL))
    return data["name"] not in EMBEDDED or named or ".py:" in json.dumps(scenario)


def choices(section: Any, prefix: str = "") -> Iterator[tuple[str, Choice]]:
    """Every component that a scenario chose, of whatever kind, with its key."""
    for field in fields(section):
        value = getattr(section, field.name)
        for place, item in enumerate(value if isinstance(value, list) else [value]):
            key = f"{prefix}{field.name}" + (f".{place}" if isinstance(value, list) else "")
            if isinstance(item, Choice):
                yield key, item
                yield from ((f"{key}.{name}", choice) for name, choice in item.nested())
            elif is_dataclass(item):
                yield from choices(item, f"{key}.")


def _named_file(key: str, value: Any) -> dict[str, dict[str, str]]:
    """The digest of a file that a value names, if it does."""
    path = _path(value) if isinstance(value, str) else None
    return {key: _by_name({path.name: path}, key)} if path is not None else {}


def _path(text: str) -> Path | None:
    path = file_of(text)
    try:
        return path if re.search(r"[./]", text) and path.is_file() else None
    except (OSError, ValueError):  # too long, or with characters that no path has
        return None


def weights_file(path: Path) -> Path | None:
    """The file of the weights that a run folder holds, or that the path is; None where there is none."""
    file = path / "model.safetensors" if path.is_dir() else path
    return file if file.is_file() else None


def _initial_weights(names: list[str]) -> dict[str, dict[str, str]]:
    """The digests of the weights that the model begins with, by `init_from`; none where a file is not there."""
    found = {}
    for place, name in enumerate(names):
        file = weights_file(Path(name))
        if file is None:
            return {}
        shown = file.name if file == Path(name) else f"{Path(name).name}/{file.name}"
        found[shown if shown not in found else f"{place}: {shown}"] = file
    return {INITIAL: _by_name(found, INITIAL)} if found else {}


def _by_name(files: Mapping[str, Path], key: str) -> dict[str, str]:
    try:
        return digests(files)
    except OSError as error:
        raise ScenarioError(Problem(key, f"{error.filename} cannot be read: {error.strerror}")) from error


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
