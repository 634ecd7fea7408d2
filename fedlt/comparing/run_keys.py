"""What runs have in common and what tells them apart: their scenarios as flat keys, and the keys that differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, get_type_hints

from fedlt.config import catalog
from fedlt.config.component import Choice
from fedlt.config.scenario import Scenario
from fedlt.config.schema import Field as Spec
from fedlt.config.schema import component_kind
from fedlt.data.provenance import names_files
from fedlt.errors import FedLTError, Problem
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from fedlt.results.runs import Run

Keys = Mapping[str, Any]

SETTING = ("data", "federation.clients", "federation.partition", "federation.local_test", "federation.empty",
           "evaluation")  # fmt: skip
"""Keys that say what the question is. Runs are comparable only if they agree in all of them, and below them."""

_IMMATERIAL = ("seed", "resources", "evaluation.batch_size")
"""Keys that do not tell methods apart: the repetition, and where or in what pieces it is computed."""


def run_keys(run: Run) -> dict[str, Any]:
    """The run's scenario as flat keys with every default filled in, also of keys that are younger than the run.

    A component is its name under its own key (`strategy`), and its fields below (`strategy.mu`). A seed that follows
    the scenario's is null, so that repetitions of one setting have equal keys.
    """
    flat = dict(_flatten(run.scenario, ""))
    for key, (kind, default) in _schema().items():
        flat.setdefault(key, default)
        if kind and isinstance(flat[key], str):
            _fill_in(flat, key, kind)
    seed = flat["seed"]
    return {key: None if key.endswith(".seed") and value == seed else value for key, value in flat.items()}


def differing(runs: Sequence[Keys]) -> list[str]:
    """Keys in which runs differ, beyond seed and place. A component's field counts among runs of that component."""
    names = sorted({name for keys in runs for name in keys}, key=_rank)
    return [name for name in names if not _is(name, _IMMATERIAL[:2]) and name != _IMMATERIAL[2] and _varies(name, runs)]


def is_setting(key: str) -> bool:
    """Whether the key belongs to `SETTING`."""
    return _is(key, SETTING)


def setting_problems(runs: Sequence[Run], keys: Sequence[Keys]) -> list[Problem]:
    """Why the runs cannot stand in one table: their data, partition or evaluation differ. Empty: they can."""
    problems = [
        Problem(key, f"{values_text(key, keys)}; choose runs of one value, or --each {key} for a table each")
        for key in differing(keys)
        if is_setting(key)
    ]
    problems = problems or input_problems(runs, keys)
    if problems:
        return problems

    by_seed: dict[int, dict[str, str]] = {}
    for run in runs:
        partition = str(run.summary.get("partition_hash"))
        by_seed.setdefault(run.summary["seed"], {}).setdefault(partition, run.folder.name)

    for seed, found in sorted(by_seed.items()):
        if len(found) > 1:
            shown = ", ".join(f"{digest[:8]} ({folder})" for digest, folder in found.items())
            problems.append(
                Problem("partition_hash", f"seed {seed} has different partitions: {shown}; choose runs of one")
            )

    return problems


def input_problems(runs: Sequence[Run], keys: Sequence[Keys]) -> list[Problem]:
    """Files that had another content in one run than in another, though the scenarios name them alike."""
    folders_of: dict[tuple[str, str], dict[str, list[str]]] = {}
    files: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for run, mine in zip(runs, keys, strict=True):
        for key, digests in run.summary.get("inputs", {}).items():
            named = key, lookup(mine, key)
            content = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:8]
            folders_of.setdefault(named, {}).setdefault(content, []).append(run.folder.name)
            files.setdefault(named, []).append(digests)

    problems = []
    for (key, name), contents in folders_of.items():
        if len(contents) > 1:
            contents_there = files[key, name]
            differing = [
                file
                for file in dict.fromkeys(chain(*contents_there))
                if len({one.get(file) for one in contents_there}) > 1
            ]
            groups = "; ".join(f"{content} in {some(folders)}" for content, folders in contents.items())
            text = f"{some(differing)} had not the same content in all runs: {groups}"
            problems.append(Problem(key, f"{text}; choose runs of one, or give each content a name of its own"))
    return problems


def unknown_inputs(runs: Sequence[Run]) -> list[str]:
    """The folders of runs that were written before digests were kept, and whose scenarios name files."""
    return [run.folder.name for run in runs if "inputs" not in run.summary and names_files(run.scenario)]


def some(names: Sequence[str]) -> str:
    """The first three names, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def values_text(key: str, runs: Sequence[Keys]) -> str:
    """`0.1 (3 runs), 0.5 (1 run)`."""
    counts: dict[str, int] = {}
    for keys in runs:
        text = show(keys.get(key, MISSING))
        counts[text] = counts.get(text, 0) + 1
    return ", ".join(f"{text} ({counted(n, 'run')})" for text, n in counts.items())


def show(value: Any) -> str:
    """A value as a table shows it; `-` for a key that the run does not have."""
    if value is MISSING:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def lookup(keys: Keys, name: str) -> str:
    """The text of one key of one run."""
    return show(keys.get(name, MISSING))


def _varies(name: str, runs: Sequence[Keys]) -> bool:
    """Whether runs differ in a key. A component's key is compared among runs that have the same component."""
    owner = next((key for key, (kind, _) in _schema().items() if kind and name.startswith(f"{key}.")), None)
    seen: dict[Any, set[str]] = {}
    for keys in runs:
        if name in keys:
            seen.setdefault(keys[owner] if owner else None, set()).add(json.dumps(keys[name], sort_keys=True))
        elif owner is None:
            seen.setdefault(None, set()).add("-")
    return any(len(values) > 1 for values in seen.values())


def _is(key: str, heads: Iterable[str]) -> bool:
    return any(key == head or key.startswith(f"{head}.") for head in heads) and key != "resources.precision"


def _rank(key: str) -> tuple[int, str]:
    """Strategy, learner and model first: they are what people compare."""
    heads = ["strategy", "learner", "model"]
    head = key.split(".")[0]
    return (heads.index(head) if head in heads else len(heads), key)


@lru_cache(maxsize=1)
def _schema() -> dict[str, tuple[str | None, Any]]:
    """Every key of a scenario: the kind of component it names, if it does, and its default."""
    return {key: entry for key, entry in _walk(Scenario, "") if key != "name"}


def _walk(section: type, prefix: str) -> Iterator[tuple[str, tuple[str | None, Any]]]:
    """The keys of a section and of those within it, each with the kind of component that it chooses, if any."""
    hints = get_type_hints(section, include_extras=True)
    for item in fields(section):
        hint = hints[item.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _walk(hint, f"{prefix}{item.name}.")
        else:
            kind = hint.__metadata__[0] if getattr(hint, "__origin__", None) is Choice else None
            yield f"{prefix}{item.name}", (kind, _default(item))


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _flatten(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Nested keys with dots; a component stands under its own name."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if not isinstance(value, Mapping):
            yield key, value
        elif _schema().get(key, (None, None))[0] or "name" in value:
            yield key, value.get("name")
            yield from _flatten({k: v for k, v in value.items() if k != "name"}, f"{key}.")
        else:
            yield from _flatten(value, f"{key}.")


def _fill_in(flat: dict[str, Any], key: str, kind: str) -> None:
    """Add the defaults of the component that stands at a key, and of those that it holds."""
    for spec in _component_fields(kind, flat[key]):
        inner = f"{key}.{spec.name}"
        if not spec.required:
            flat.setdefault(inner, spec.default)
        kind_inside = component_kind(spec.annotation)
        if kind_inside and isinstance(flat.get(inner), str):
            _fill_in(flat, inner, kind_inside)


@lru_cache(maxsize=256)
def _component_fields(kind: str, name: str) -> tuple[Spec, ...]:
    """A component's fields; none where it is gone, as a user's own file may be."""
    try:
        return catalog.find(kind, name).fields
    except FedLTError:
        return ()
