"""Reads scenario files: YAML, overrides, and the checks that need nothing but the text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from fedlt.config import catalog
from fedlt.config.component import Choice
from fedlt.config.schema import Field, Mismatch, check, component_kind, suggest
from fedlt.errors import Problem, ScenarioError

FOLDER = catalog.ROOT / "scenarios"

PATHS = (
    ("data", "name"), ("data", "longtail", "counts"), ("data", "noise", "file"), ("data", "targets"),
    ("data", "encoder"), ("federation", "partition"), ("federation", "partition", "file"), ("federation", "links"),
    ("model",), ("strategy",), ("learner",), ("evaluation", "metrics"), ("init_from",),
)  # fmt: skip
"""Keys whose values may be paths."""

FILES = (("data", "longtail", "counts"), ("data", "noise", "file"), ("federation", "partition", "file"), ("init_from",))
"""Those whose values are always paths."""

DATA_FILES = (".npz", ".csv", ".tsv", ".parquet")


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
        hint = suggest(str(scenario), scenario_names())
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


def anchor(raw: dict[str, Any], base: Path) -> None:
    """Make relative paths of a scenario file start at its folder `base`; others start at the current folder.

    Options of a component are paths where they name a file there, as `weights: pre.pt` does.
    Nothing is changed in a file of the current folder, nor in the record of a run, whose paths started where it was
    started, nor in names that are no paths.
    """
    if base.resolve() == Path.cwd() or base == FOLDER or (base / "run.json").is_file():
        return

    for keys in PATHS:
        node: Any = raw
        for key in keys[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            continue
        for holder, place in _places(node, keys[-1]):
            value = holder[place]
            if not value.startswith("${") and "\x00" not in value and _is_path(keys, value, base):
                prefix, colon, path = (
                    value.partition(":") if keys == ("model",) and ".py:" not in value else ("", "", value)
                )
                holder[place] = f"{prefix}{colon}{os.path.normpath(base / os.path.expanduser(path))}"

    for kind in ("model", "strategy", "learner"):
        options: Any = raw.get(kind)
        for name, value in options.items() if isinstance(options, dict) else ():
            if name != "name" and isinstance(value, str) and "." in value and (base / value).is_file():
                options[name] = os.path.normpath(base / value)


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
    if keys == ("data", "name"):
        return value.startswith((".", "~")) or value.endswith(DATA_FILES) or _is_folder(base, value)
    if keys in FILES:
        return True
    if keys == ("model",) and value.partition(":")[2].startswith((".", "~")):  # a folder of a library's
        return True
    return ".py:" in value


def _is_folder(base: Path, name: str) -> bool:
    """Whether a bare name is that of a folder beside the file, and of no well-known data set."""
    if not os.path.isdir(base / name):
        return False
    from fedlt.data.known import KNOWN  # late: it imports NumPy

    return name not in ("digits", *KNOWN)


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
    try:
        return OmegaConf.to_container(OmegaConf.create(raw), resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        problems.append(Problem(str(error.full_key or ""), " ".join(str(error.msg or error).split())))
        return {}


def _assign(raw: dict[str, Any], path: list[str], value: Any, problems: list[Problem]) -> None:
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
    node: Any = raw
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or path[-1] not in node:
        problems.append(
            Problem(".".join(path), f"nothing to delete{suggest(path[-1], node if isinstance(node, dict) else ())}")
        )
        return
    del node[path[-1]]


class Reader:
    """Turns plain dictionaries into the dataclasses above and collects what does not fit."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def section(self, kind: type, content: Any, prefix: str, skip: tuple[str, ...] = ()) -> dict[str, Any]:
        """The checked fields of one dataclass; what is absent is left to the dataclass's defaults."""
        if not isinstance(content, dict):
            self.problems.append(Problem(prefix.rstrip("."), f"expected keys and values, got {content!r}"))
            return {}

        known = {f.name: f for f in fields(kind) if f.name not in skip}
        for key in content:
            if key not in known:
                shown = key if str(key).isidentifier() else repr(key)
                self.problems.append(Problem(f"{prefix}{shown}", f"unknown key{suggest(str(key), known)}"))

        hints = get_type_hints(kind)
        result: dict[str, Any] = {}
        for name, item in known.items():
            where = f"{prefix}{name}"
            nested = hints[name]
            if isinstance(nested, type) and is_dataclass(nested) and nested is not Choice:
                result[name] = nested(
                    **self.section(nested, _or_empty(_spelt_out(nested, content.get(name))), f"{where}.")
                )
            elif str(item.type).startswith("Annotated[Choice"):
                given = content.get(name, item.default)
                if given is None and "| None" in str(item.type):
                    result[name] = None
                    continue
                if isinstance(given, dict) and "name" not in given:
                    given = {"name": item.default, **given}  # fields of the default component
                result[name] = self.choice(_kind_of(str(item.type)), given, where)
            elif str(item.type).startswith("Annotated[list[Choice]"):
                result[name] = self.choices(_kind_of(str(item.type)), content.get(name), where)
            elif name in content:
                result[name] = self.value(Field(name, str(item.type)), content[name], where)

        return result

    def value(self, spec: Field, value: Any, where: str) -> Any:
        """One checked value."""
        try:
            return check(spec.annotation, value)
        except Mismatch as mismatch:
            self.problems.append(Problem(where, str(mismatch)))
            return value

    def choices(self, kind: str, value: Any, where: str) -> list[Choice]:
        """Components of a list; a single one may stand without brackets."""
        items = [] if value is None else value if isinstance(value, list) else [value]
        chosen = [self.choice(kind, item, f"{where}.{place}") for place, item in enumerate(items)]
        return [choice for choice in chosen if choice is not None]

    def choice(self, kind: str, value: Any, where: str) -> Choice | None:
        """A component by name, or by name and fields."""
        content = {"name": value} if isinstance(value, str) else value
        if not isinstance(content, dict) or not isinstance(content.get("name"), str):
            known = ", ".join(catalog.names(kind))
            self.problems.append(Problem(where, f"expected the name of a {kind} ({known}), got {value!r}"))
            return None

        try:
            component = catalog.find(kind, content["name"])
        except ScenarioError as error:
            self.problems += [Problem(where, problem.message) for problem in error.problems]
            return None

        known_fields = {spec.name: spec for spec in component.fields}
        for key in content:
            if key != "name" and key not in known_fields:
                hint = suggest(str(key), known_fields)
                self.problems.append(
                    Problem(f"{where}.{key}", f"unknown key of {component.name}{hint or ', which has none'}")
                )

        options = {}
        for spec in component.fields:
            inner = component_kind(spec.annotation)
            if inner and content.get(spec.name) is not None:
                options[spec.name] = self.choice(inner, content[spec.name], f"{where}.{spec.name}")
            elif spec.name in content and not inner:
                options[spec.name] = self.value(spec, content[spec.name], f"{where}.{spec.name}")
            elif spec.required:
                self.problems.append(Problem(f"{where}.{spec.name}", f"{component.name} needs it ({spec.annotation})"))
            else:
                options[spec.name] = spec.default

        return Choice(component.name, options, component)


def _spelt_out(section: type, value: Any) -> Any:
    """A single value in the place of a section stands for the key that the section names as its `shorthand`."""
    key = getattr(section, "shorthand", None)
    if key is None or value is None:
        return value
    if isinstance(value, dict):  # `data.longtail=none data.longtail.seed=1`: an override took the text for a name
        return {key if name == "name" else name: given for name, given in value.items()}
    return {key: value}


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


def _kind_of(annotation: str) -> str:
    """`partition` of `Annotated[Choice, 'partition']`, and `metric` of `Annotated[list[Choice], 'metric']`."""
    return annotation.rpartition(", ")[2].strip("]'\"")
