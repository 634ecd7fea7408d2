"""Checks the content of a scenario, as plain dictionaries, against the sections and the components that it chooses."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from fedlt.config import catalog, keys
from fedlt.config.component import Choice, Component, assigned_plainly
from fedlt.config.schema import Field, Mismatch, check, component_kind, describe, suggest
from fedlt.errors import Problem, ScenarioError

USUAL = {"tokenizer": "hashing", "generator": "markov"}
"""Whose fields are meant where a component that is null by default has fields and no name."""


class Reader:
    """Turns plain dictionaries into the dataclasses of `fedlt.config.sections` and collects what does not fit.

    Attributes:
        problems: where it is collected.
        scenario: all of the content, by which unknown keys are told what was meant.
    """

    def __init__(self, problems: list[Problem], scenario: dict[str, Any]) -> None:
        self.problems = problems
        self.scenario = scenario

    def section(self, kind: type, content: Any, prefix: str, skip: tuple[str, ...] = ()) -> dict[str, Any]:
        """The checked fields of one dataclass; what is absent is left to the dataclass's defaults."""
        if not isinstance(content, dict):
            self.problems.append(Problem(prefix.rstrip("."), f"expected keys and values, got {content!r}"))
            return {}

        known = {f.name: f for f in fields(kind) if f.name not in skip}
        for key, value in content.items():
            if key not in known:
                shown = key if str(key).isidentifier() else repr(key)
                hint = keys.did_you_mean(f"{prefix}{key}", value, self.scenario, known)
                self.problems.append(Problem(f"{prefix}{shown}", f"unknown key{hint}"))

        hints = _types(kind)
        result: dict[str, Any] = {}
        for name, item in known.items():
            where = f"{prefix}{name}"
            nested = hints[name]
            if isinstance(nested, type) and is_dataclass(nested) and nested is not Choice:
                result[name] = nested(
                    **self.section(nested, _or_empty(_spelt_out(nested, content.get(name))), f"{where}.")
                )
            elif str(item.type).startswith("Annotated[Choice"):
                result[name] = self._component(str(item.type), item.default, content.get(name, item.default), where)
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

    def _component(self, annotation: str, default: Any, value: Any, where: str) -> Choice | None:
        """The component of a key that may be null, a name, or keys alone: they are then the default component's."""
        if value is None and "| None" in annotation:
            return None
        kind = _kind_of(annotation)
        if isinstance(value, dict) and "name" not in value:
            value = {"name": default or USUAL.get(kind), **value}
        return self.choice(kind, value, where)

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

        keys = {"name"}.union(spec.name for spec in component.fields)
        self.problems += [_unknown_key(component, str(key), where) for key in content if key not in keys]

        options = {}
        for spec in component.fields:
            inner = component_kind(spec.annotation)
            held = content.get(spec.name)
            held = spec.default if held is None else held
            if inner and held is not None:
                if isinstance(held, dict) and "name" not in held and spec.default is not None:
                    held = {"name": spec.default, **held}  # fields of the default component
                options[spec.name] = self.choice(inner, held, f"{where}.{spec.name}")
            elif spec.name in content and not inner:
                options[spec.name] = self.value(spec, content[spec.name], f"{where}.{spec.name}")
            elif spec.required:
                self.problems.append(Problem(f"{where}.{spec.name}", f"{component.name} needs it{_needed(spec)}"))
            else:
                options[spec.name] = spec.default

        return Choice(component.name, options, component)


@cache
def _types(section: type) -> dict[str, Any]:
    """The types of a section's fields."""
    return get_type_hints(section)


def chosen(kind: str, value: Any, where: str) -> Choice:
    """A component by name, or by name and fields.

    Raises:
        ScenarioError: with all problems; `where`: their key.
    """
    problems: list[Problem] = []
    choice = Reader(problems, {}).choice(kind, value, where)
    if problems or choice is None:
        raise ScenarioError(problems)
    return choice


def _spelt_out(section: type, value: Any) -> Any:
    """A single value in the place of a section stands for the key that the section names as its `shorthand`."""
    key = getattr(section, "shorthand", None)
    if key is None or value is None:
        return value
    if isinstance(value, dict):  # `data.longtail=none data.longtail.seed=1`: an override took the text for a name
        return {key if name == "name" else name: given for name, given in value.items()}
    return {key: value}


def _needed(spec: Field) -> str:
    """What a key without a default takes, and the comment about it: `: a number > 0, the size of a step`."""
    told = [text for text in (describe(spec.annotation), spec.doc) if text]
    return f": {'; '.join(told)}" if told else ""


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


def _kind_of(annotation: str) -> str:
    """`partition` of `Annotated[Choice, 'partition']`, and `metric` of `Annotated[list[Choice], 'metric']`."""
    return annotation.rpartition(", ")[2].strip("]'\"")


def _unknown_key(component: Component, key: str, where: str) -> Problem:
    """A key that a component does not have, with the one that was meant, or whose it is.

    Args:
        where: the key under which the component is chosen.
    """
    hint = suggest(key, [spec.name for spec in component.fields]) or ", which has none"
    others = keys.key_owners(key).get(where, [])
    if assigned_plainly(component, key):
        hint = f"; it is assigned there without a type: write {key}: float = ..., or the type that it has"
    elif others and "did you mean" not in hint:
        hint += f"; it is a key of {' and '.join(others)}"
    return Problem(f"{where}.{key}", f"unknown key of {component.name}{hint}")
