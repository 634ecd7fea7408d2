"""Checks one value against one annotation, both plain: the annotation is the text that stands in the source.

Working on text lets a scenario be checked against a strategy without importing it (an import of torch takes
seconds). Understood: int, float, str, bool, None, Any, Literal[...], Annotated[T, "> 0", ...], list[T],
tuple[T, ...], dict[str, T] and unions with `|`.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_ARTICLES = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}


class Mismatch(ValueError):
    """A value does not fit; the message says what was expected."""


@dataclass(frozen=True)
class Field:
    """One field of a component or of a section of a scenario.

    Attributes:
        annotation: the source text of its type.
        default: its value when the key is absent, unless `required`.
        doc: the comment that stands behind it in the source.
    """

    name: str
    annotation: str
    default: Any = None
    required: bool = False
    doc: str = ""


def check(annotation: str, value: Any) -> Any:
    """`value`, converted where that is exact (1 to 1.0, a list to a tuple); raises `Mismatch` otherwise."""
    return _check(_parse(annotation), value)


def component_kind(annotation: str) -> str:
    """`adapter` of `Annotated[Adapter | None, "adapter"]`: a field that holds a component; "" for one of plain values.

    A second part that begins with a sign is a bound of a number.
    """
    if not annotation.startswith("Annotated["):
        return ""
    node = _parse(annotation)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        last = node.slice.elts[-1]
        if isinstance(last, ast.Constant) and str(last.value).isidentifier() and ast.unparse(node.value) == "Annotated":
            return str(last.value)
    return ""


def alternatives(annotation: str, value: Any) -> list[Any]:
    """At most two other plain values that fit the annotation, near this one where it is a number.

    Args:
        value: what fits already; lists, dictionaries, texts and components have no other.
    """
    near: list[Any] = []
    if isinstance(value, bool):
        near = [not value]
    elif isinstance(value, int):
        near = [2 * value, value + 1, value - 1]
    elif isinstance(value, float):
        near = [2 * value, value / 2, value + 1.0, value - 0.5]
    elif value is None:
        near = [True, 1, 2, 0.5]

    # What is one of several words has the others.
    words = [
        ast.literal_eval(item)
        for node in ast.walk(_parse(annotation))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).rsplit(".", 1)[-1] == "Literal"
        for item in (node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice])
    ]
    fitting = [other for other in (*words, *near) if other != value and _fits(annotation, other)]
    return list(dict.fromkeys(fitting))[:2]


def _fits(annotation: str, value: Any) -> bool:
    try:
        check(annotation, value)
    except Mismatch:
        return False
    return True


def describe(annotation: str) -> str:
    """What a value must be, in words: `a number > 0`, `one of keep, merge, drop`; "" where anything will do."""
    text = _describe(_parse(annotation))
    return "" if text == "Any" else text


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something known is spelt alike, else the list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


@lru_cache(maxsize=512)
def _parse(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _check(node: ast.expr, value: Any) -> Any:
    """The value in the annotation's type.

    Raises:
        Mismatch: where it does not fit.
    """
    if isinstance(node, ast.BinOp):
        for option in _options(node):
            try:
                return _check(option, value)
            except Mismatch:
                continue
        raise _mismatch(node, value)

    if isinstance(node, ast.Constant) and node.value is None:
        if value is not None:
            raise _mismatch(node, value)
        return None

    if isinstance(node, ast.Subscript):
        return _check_generic(node, value)
    if isinstance(node, ast.Name) and node.id != "Any":
        return _check_plain(node, value)

    return value


def _check_plain(node: ast.Name, value: Any) -> Any:
    """A value of a type without arguments.

    Raises:
        Mismatch: where it does not fit.
    """
    kind = node.id

    # A whole number is a fraction too, as people write them; true and false are neither.
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
        raise _mismatch(node, value)

    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "dict": isinstance(value, dict),
        "list": isinstance(value, list),
    }

    # Names that are not listed stand for any value.
    if not fits.get(kind, kind not in ("float",)):
        raise _mismatch(node, value)
    return value


def _check_generic(node: ast.Subscript, value: Any) -> Any:
    """A value of Literal, Annotated, list, dict or tuple.

    Raises:
        Mismatch: where it, or what it holds, does not fit.
    """
    outer = ast.unparse(node.value).rsplit(".", 1)[-1]
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Literal":
        allowed = [ast.literal_eval(item) for item in inner]
        if value not in allowed or isinstance(value, bool) != any(isinstance(a, bool) for a in allowed):
            hint = suggest(value, map(str, allowed)) if isinstance(value, str) else ""
            near = hint if "did you mean" in hint else ""
            raise Mismatch(f"expected one of {', '.join(map(str, allowed))}, got {value!r}{near}")
        return value

    if outer == "Annotated":
        value = _check(inner[0], value)
        bounds = [str(ast.literal_eval(item)) for item in inner[1:]]
        if any(not _within(value, bound) for bound in bounds):
            raise Mismatch(f"expected {_describe(inner[0])} {' and '.join(bounds)}, got {value!r}")
        return value

    if outer in ("list", "tuple"):
        if not isinstance(value, list | tuple):
            raise _mismatch(node, value)
        items = [_check(inner[0], item) for item in value]
        return items if outer == "list" else tuple(items)

    if outer == "dict":
        if not isinstance(value, dict):
            raise _mismatch(node, value)
        return {key: _check(inner[1], item) for key, item in value.items()}

    return value


def _within(value: Any, bound: str) -> bool:
    if not isinstance(value, int | float):
        return True
    sign, limit = bound.split()
    return _BOUNDS[sign](value, float(limit))


def _options(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp):
        return [*_options(node.left), *_options(node.right)]
    return [node]


def _describe(node: ast.expr) -> str:
    """An annotation in words."""
    if isinstance(node, ast.BinOp):
        return " or ".join(_describe(option) for option in _options(node))
    if isinstance(node, ast.Constant):
        return "null"
    if isinstance(node, ast.Name):
        return _ARTICLES.get(node.id, node.id)

    # Annotated[int, ">= 1"], Literal["a", "b"], list[int].
    if isinstance(node, ast.Subscript):
        outer = ast.unparse(node.value).rsplit(".", 1)[-1]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer == "Annotated":
            return f"{_describe(inner[0])} {' and '.join(str(ast.literal_eval(item)) for item in inner[1:])}"
        if outer == "Literal":
            return f"one of {', '.join(str(ast.literal_eval(item)) for item in inner)}"
        return f"a {outer}"

    return ast.unparse(node)


def _mismatch(node: ast.expr, value: Any) -> Mismatch:
    return Mismatch(f"expected {_describe(node)}, got {value!r}")
