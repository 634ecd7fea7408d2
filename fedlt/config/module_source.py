"""Ordinary PyTorch modules as models of a scenario: their keys, read from their source text without importing it.

`model=./net.py:Net` names a class of `nn.Module`, or a function that returns one. Its arguments are its keys, beside
those that every such model has (`KEYS`); what only the data can tell (`GIVEN`) is passed where it is asked for by name.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any

from fedlt.config.schema import Field
from fedlt.config.source import constructor

GIVEN = ("num_classes", "input_shape", "vocabulary")
"""Arguments that the data set tells: number of classes, shape of a sample, number of different tokens."""

COMMON = (
    Field(
        "freeze", "bool | list[str] | None", None, doc="what stays as it is; null: all but adapter and head, or nothing"
    ),
    Field("adapter", "Annotated[Adapter | None, 'adapter']", None, doc="see: fedlt ls adapters"),
    Field("class_vectors", "str | None", None, doc="file of [C, D] numbers, as of names; null: none"),
)
"""Keys of every model (`fedlt.nn.model.Model`)."""

KEYS = (
    *COMMON,
    Field("head", "str | None", None, doc="name of the last layer, such as fc; null: found"),
    Field("channels_last", "bool", False, doc="memory order of images; true is faster where forward() takes it"),
)
"""Keys of every model that is an ordinary module; an argument of the same name goes before them."""

YOUNG = tuple(field.name for field in KEYS)
"""They are left out of scenarios at their defaults."""

_PLAIN = {"bool": bool, "int": int, "float": float, "str": str}


def module_fields(tree: ast.Module, comments: dict[int, str], name: str) -> tuple[Field, ...] | None:
    """The keys of a class or function of a file; None where the file only imports or assigns that name.

    Arguments whose default is no plain literal are no keys: the module keeps its own default.
    """
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name in functions:
        return with_keys(_own_fields(functions[name].args, comments, skip=0))
    if name not in classes:
        return None

    init = constructor(name, classes)
    return with_keys([] if init is None else _own_fields(init.args, comments, skip=1))


def key_of(argument: str) -> str:
    """The key of an argument: `name_` of one that is called `name`, which in a scenario is the module's own name."""
    return "name_" if argument == "name" else argument


def with_keys(own: list[Field]) -> tuple[Field, ...]:
    """A module's own keys, and those that every module has."""
    taken = {field.name for field in own}
    return (*own, *(field for field in KEYS if field.name not in taken))


def _own_fields(arguments: ast.arguments, comments: dict[int, str], skip: int) -> list[Field]:
    """The keys of a function: its arguments, with their annotations and defaults.

    Args:
        skip: leading arguments that are no keys (`self`).
    """
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [*zip(positional, [*missing, *arguments.defaults], strict=True)][skip:]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)

    found = []
    for argument, default in pairs:
        if argument.arg in GIVEN:
            continue
        doc = comments.get(argument.lineno, "")
        if default is None:
            found.append(Field(key_of(argument.arg), _annotation(argument, None), None, True, doc))
            continue
        try:
            value = ast.literal_eval(default)
        except ValueError:
            continue
        value = list(value) if isinstance(value, tuple) else value
        found.append(Field(key_of(argument.arg), _annotation(argument, value), value, False, doc))
    return found


def _annotation(argument: ast.arg, default: Any) -> str:
    """The type that values are checked against: as annotated, where scenarios know it, else that of the default."""
    if argument.annotation is not None:
        text = ast.unparse(argument.annotation)
        names = {node.id for node in ast.walk(argument.annotation) if isinstance(node, ast.Name)}
        if names <= {*_PLAIN, "list", "tuple", "dict", "Literal", "Annotated"} and "..." not in text:
            return text
    plain = next((name for name, kind in _PLAIN.items() if type(default) is kind), "Any")
    return "int | float" if plain == "int" else plain  # `dropout=0` does not mean whole numbers


def fields_of(make: Callable[..., Any]) -> list[Field]:
    """The own keys of a class or function that is at hand, by its signature. `*args` and `**kwargs` are no keys."""
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # built in, without a signature
        return []
    placed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = []
    for name, parameter in signature.parameters.items():
        if name in GIVEN or parameter.kind not in placed:
            continue
        required = parameter.default is inspect.Parameter.empty
        if required or isinstance(parameter.default, bool | int | float | str | None):
            found.append(Field(name, "Any", None if required else parameter.default, required))
    return found
