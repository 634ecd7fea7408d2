"""Reads scenario files: which file is meant, its YAML, where its paths start, and the overrides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fedlt.config import catalog
from fedlt.config.schema import suggest
from fedlt.errors import Problem, ScenarioError

FOLDER = catalog.ROOT / "scenarios"

FONT = ("data", "glyphs", "font")
STOP_WORDS = (("data", "shorten"), ("data", "shorten", "stop_words"))
PATHS = (
    ("data", "name"), ("data", "longtail", "counts"), ("data", "noise", "file"), ("data", "targets"),
    ("data", "server_unlabelled", "file"), FONT, ("data", "encoder"), ("data", "tokenizer"), *STOP_WORDS,
    ("federation", "partition"), ("federation", "partition", "file"), ("federation", "links"),
    ("federation", "selection"), ("federation", "clock"), ("local", "generated"),
    ("model",), ("strategy",), ("strategy", "inside"), ("learner",), ("evaluation", "metrics"), ("init_from",),
)  # fmt: skip
"""Keys whose values may be paths."""

FILES = (
    ("data", "longtail", "counts"), ("data", "noise", "file"), ("data", "server_unlabelled", "file"),
    ("federation", "partition", "file"), ("init_from",),
)  # fmt: skip
"""Those whose values are always paths."""

OF_LIBRARIES = (("model",), ("data", "tokenizer"), ("local", "generated"))
"""Those whose values may be `LIBRARY:FOLDER`."""

CODE = "code"
"""The folder in that of a run that holds a user's own components."""

DATA_FILES = (".npz", ".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")


def scenario_names() -> list[str]:
    """The shipped scenarios."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def locate(scenario: str | Path) -> Path:
    """The file of a shipped scenario's name, or of a path."""
    path = Path(scenario).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise ScenarioError(Problem("", f"there is no scenario file {path}"))
        return path.resolve()

    shipped = FOLDER / f"{scenario}.yaml"
    if "/" in str(scenario) or not shipped.is_file():
        kinds = [kind for kind in ("strategy", "learner", "model") if scenario in catalog.names(kind)]
        hint = f"; did you mean {' or '.join(f'{kind}={scenario}' for kind in kinds)}?" if kinds else ""
        hint = hint or suggest(str(scenario), scenario_names())
        raise ScenarioError(
            Problem("", f"there is no scenario {str(scenario)!r}{hint} (a name, or the path of a .yaml file)")
        )
    return shipped


def read(path: Path) -> dict[str, Any]:
    """The content of a YAML file, `${...}` left as written."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        content = OmegaConf.load(path)
        raw = OmegaConf.to_container(content, resolve=False)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ScenarioError(
            Problem("", f"unreadable YAML: {' '.join(str(error).split())}"), source=str(path)
        ) from error
    if not isinstance(raw, dict):
        raise ScenarioError(Problem("", "expected keys and values at the top of the file"), source=str(path))
    return {str(key): value for key, value in raw.items()}


def as_yaml(content: dict[str, Any]) -> str:
    """The YAML of plain values, as OmegaConf would write it after the milliseconds that its own containers take."""
    import yaml

    return yaml.dump(content, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=_dumper())


@cache
def _dumper() -> type[Any]:
    """A writer of YAML without aliases, whose texts are quoted where they would be read as something else."""
    import yaml

    class Dumper(yaml.Dumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent(dumper: yaml.Dumper, text: str) -> yaml.ScalarNode:
        quoted = text in ("y", "Y", "n", "N") or _is_number(text)  # which OmegaConf would not read as texts
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if quoted else None)

    Dumper.add_representer(str, represent)
    Dumper.add_representer(tuple, yaml.Dumper.represent_list)  # a field's default may be one, and YAML has lists
    return Dumper


def _is_number(text: str) -> bool:
    """Whether a text would be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def anchor(raw: dict[str, Any], base: Path) -> None:
    """Make relative paths of a scenario file start at its folder `base`; others start at the current folder.

    Options of a component are paths where they name a file there, as `weights: pre.pt` does.
    Nothing is changed in a file of the current folder, nor in the record of a run, whose paths started where it was
    started, nor in names that are no paths. A run's record takes its own copy of a component's file that is gone.
    """
    if (base / "run.json").is_file():
        _take_copies(raw, base / CODE)
        return
    if base.resolve() == Path.cwd() or base == FOLDER:
        return

    for keys, holder, place in _all_places(raw):
        value = holder[place]
        if not value.startswith("${") and "\x00" not in value and _is_path(keys, value, base):
            prefix, colon, path = (
                value.partition(":") if keys in OF_LIBRARIES and ".py:" not in value else ("", "", value)
            )
            holder[place] = f"{prefix}{colon}{os.path.normpath(base / os.path.expanduser(path))}"

    for kind in ("model", "strategy", "learner"):
        options: Any = raw.get(kind)
        for name, value in options.items() if isinstance(options, dict) else ():
            if name != "name" and isinstance(value, str) and "." in value and (base / value).is_file():
                options[name] = os.path.normpath(base / value)


def _take_copies(raw: dict[str, Any], code: Path) -> None:
    """Name the copies of components' files that are not there any more.

    Args:
        code: where the run keeps them, by key.
    """
    for keys, holder, place in _all_places(raw):
        file, _, attribute = str(holder[place]).rpartition(":")
        if file.endswith(".py") and not Path(file).is_file():
            copies = sorted(code.glob(f"{'.'.join(keys)}*/{Path(file).name}"))
            holder[place] = f"{copies[0].resolve()}:{attribute}" if copies else holder[place]


def _all_places(raw: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The keys of `PATHS` that a scenario sets, each with the places of its texts."""
    for keys in PATHS:
        node: Any = raw
        for key in keys[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict):
            yield from ((keys, holder, place) for holder, place in _places(node, keys[-1]))


def _places(holder: Any, place: Any) -> Iterator[tuple[Any, Any]]:
    """Where texts stand that name something: the value itself, the name of a component with options, or a list's."""
    value = holder.get(place) if isinstance(holder, dict) else holder[place]
    if isinstance(value, str):
        yield holder, place
    elif isinstance(value, dict):
        yield from _places(value, "name")
    elif isinstance(value, list):
        for number in range(len(value)):
            yield from _places(value, number)


def _is_path(keys: tuple[str, ...], value: str, base: Path) -> bool:
    """Whether the value of a key is a path.

    Args:
        keys: the parts of the key's name.
        base: the folder from which relative paths start.
    """
    if keys == ("data", "name"):
        return value.startswith((".", "~")) or value.endswith(DATA_FILES) or _is_folder(base, value)
    if keys == FONT:  # a bare name is looked for among the system's fonts
        return "/" in value
    if keys in FILES or (keys in STOP_WORDS and value != "english"):
        return True
    if keys in OF_LIBRARIES and value.partition(":")[2].startswith((".", "~")):  # a folder of a library's
        return True
    return ".py:" in value


def _is_folder(base: Path, name: str) -> bool:
    """Whether a bare name is that of a folder beside the file, and of no well-known data set."""
    if not os.path.isdir(base / name):
        return False
    from fedlt.data.known import EMBEDDED, GLYPHS, KNOWN  # late: it imports NumPy

    return name not in (*EMBEDDED, *KNOWN, GLYPHS)


def apply(raw: dict[str, Any], overrides: list[str], problems: list[Problem]) -> dict[str, Any]:
    """The file's content with the overrides applied in order and `${...}` resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for override in overrides:
        key, equals, text = override.partition("=")
        if override.startswith("~") and not equals:
            _delete(raw, override[1:].split("."), problems)
            continue
        if not equals or not key or key.startswith("~"):
            problems.append(Problem(override, "an override is written key=value, or ~key to go back to the default"))
            continue
        try:
            value = OmegaConf.to_container(OmegaConf.from_dotlist([f"v={text}"]))["v"]  # type: ignore[index,call-overload]
        except Exception as error:  # the YAML parser raises many kinds
            problems.append(Problem(key, f"cannot read the value {text!r}: {' '.join(str(error).split())}"))
            continue
        _assign(raw, key.split("."), value, problems)
    raw.setdefault("seed", 0)
    if _is_resolved(raw):
        return raw
    try:
        return OmegaConf.to_container(OmegaConf.create(raw), resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        problems.append(Problem(str(error.full_key or ""), " ".join(str(error.msg or error).split())))
        return {}


def _is_resolved(value: Any) -> bool:
    """Whether OmegaConf, which takes milliseconds, would give the same back: YAML's own values without `${...}`."""
    if type(value) is dict:
        return all(type(key) is str and _is_resolved(item) for key, item in value.items())
    if type(value) is list:
        return all(map(_is_resolved, value))
    return "${" not in value if type(value) is str else value is None or type(value) in (bool, int, float)


def _assign(raw: dict[str, Any], path: list[str], value: Any, problems: list[Problem]) -> None:
    """Set a key.

    Args:
        raw: the scenario, changed in place.
        path: the parts of the key's name.
        problems: gets what is wrong.
    """
    node = raw
    for depth, part in enumerate(path[:-1]):
        child = node.get(part)
        if isinstance(child, str):
            child = {"name": child}
        if isinstance(child, int | float):  # a section's shorthand: it must not be lost in silence
            where = ".".join(path[: depth + 1])
            problems.append(Problem(where, f"is {child} already; write each of its keys, as in {where}.share={child}"))
        if not isinstance(child, dict):
            child = {}
        node[part] = child
        node = child
    node[path[-1]] = value


def _delete(raw: dict[str, Any], path: list[str], problems: list[Problem]) -> None:
    """Delete a key.

    Args:
        raw: the scenario, changed in place.
        path: the parts of the key's name.
        problems: gets what is wrong.
    """
    node: Any = raw
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or path[-1] not in node:
        problems.append(
            Problem(".".join(path), f"nothing to delete{suggest(path[-1], node if isinstance(node, dict) else ())}")
        )
        return
    del node[path[-1]]
