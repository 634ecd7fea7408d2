"""Short names of people's own components: `Balanced` for `/home/me/study/balanced.py:Balanced`.

Tables, pictures and reports are shared, and a path is long and tells who made it where. The class's name is enough
unless runs hold two classes of that name that are not the same: then the file's name stands before it, and the folder's
where that is not enough. Files that were moved or copied are the same where their content is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedlt.results.runs import Run

OWN = ".py:"


def shortened(runs: Sequence[Run], keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The runs' flat keys with short names for their own components.

    Args:
        keys: see `run_keys.run_keys`.
    """
    found: dict[str, dict[str, set[str]]] = {}  # key -> full name -> contents that it had
    for run, mine in zip(runs, keys, strict=True):
        for key, value in mine.items():
            if isinstance(value, str) and OWN in value:
                content = json.dumps(run.summary.get("inputs", {}).get(key, value), sort_keys=True)
                found.setdefault(key, {}).setdefault(value, set()).add(content)

    names = {key: _names(contents) for key, contents in found.items()}
    return [
        dict(mine) | {key: short[mine[key]] for key, short in names.items() if mine.get(key) in short} for mine in keys
    ]


def as_typed(name: str, known: Sequence[str]) -> str:
    """What stands for a name of a component as a person types it (`./balanced.py:Balanced`) among the short names."""
    if OWN not in name or name in known:
        return name
    file, _, attribute = name.rpartition(":")
    parts = PurePath(file).parts
    ends = ["/".join(parts[len(parts) - depth :]) for depth in range(1, len(parts) + 1)]
    fitting = [one for one in (*(f"{end}:{attribute}" for end in reversed(ends)), attribute) if one in known]
    return fitting[0] if fitting else name


def of_file(name: str, runs: Sequence[Run]) -> str:
    """`balanced.py:Balanced` for a file alone, `balanced.py` or a path of it, where runs have one class out of it."""
    if not name.endswith(OWN.removesuffix(":")):
        return name
    from fedlt.comparing.run_keys import run_keys

    typed = tuple(part for part in PurePath(name).parts if part not in (".", ".."))
    values = {value for run in runs for value in run_keys(run).values() if isinstance(value, str) and OWN in value}
    pairs = [value.rpartition(":") for value in values]
    classes = {attribute for file, _, attribute in pairs if PurePath(file).parts[-len(typed) :] == typed}
    return f"{name}:{classes.pop()}" if len(classes) == 1 else name


def without_folders(text: str) -> str:
    """A text in which absolute paths are only what their last part says; what stands in a URL stays."""
    return re.sub(r"(?<![\w:/.~-])[~/][^\s'\"]*/(?=[^/\s'\"])", "", text)


def _names(contents: Mapping[str, set[str]]) -> dict[str, str]:
    """The short name of each full one: the shortest that no other content has.

    Args:
        contents: what each full name was.
    """
    short = {}
    for full, content in contents.items():
        rivals = [other for other in contents if contents[other] != content]
        depth = 0
        while any(_end(other, depth) == _end(full, depth) for other in rivals):
            depth += 1
        short[full] = _end(full, depth)
    return short


def _end(full: str, depth: int) -> str:
    """The class's name, behind so many of the last parts of its file's path."""
    file, _, attribute = full.rpartition(":")
    parts = PurePath(file).parts
    return f"{'/'.join(parts[-depth:])}:{attribute}" if depth else attribute
