"""Whether a user's class overrides the hooks that it means to: names spelt right, arguments as the hook is called."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from fedlt.config.whose import OURS


def hooks_of(base: type) -> dict[str, FunctionType]:
    """The public methods of a contract's base class: all that may be overridden."""
    return {name: value for name, value in vars(base).items() if isinstance(value, FunctionType) and name[0] != "_"}


def misused(part: object, base: type) -> Iterator[str]:
    """A sentence for each hook that a user's class hides, defines with other arguments or has misspelt.

    Args:
        part: an instance.
        base: the contract's base class, such as `fedlt.strategy.Strategy`.
    """
    yield from defined_otherwise(part, base)
    hooks = hooks_of(base)
    for name in _unused_methods(part):
        near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.75)
        if near:
            yield f"{type(part).__name__} has a method {name!r}, which nobody calls; did you mean {near[0]!r}?"
        elif name.startswith("on_"):
            remedy = "rounds and evaluations are heard of by a fedlt.Callback, given by --track or callbacks="
            yield f"{type(part).__name__} has a method {name!r}, which nobody calls; {remedy}"


def defined_otherwise(part: object, base: type) -> Iterator[str]:
    """A sentence for each hook of a user's class that is no method, or takes other arguments than it is given."""
    for name, contract in hooks_of(base).items():
        if _home(part, name) is not None or name in vars(part):
            yield from _called_otherwise(part, name, contract)


def _called_otherwise(part: Any, name: str, contract: FunctionType) -> Iterator[str]:
    """A sentence where the hook is no method, or cannot be called with the contract's arguments."""
    title = f"{type(part).__name__}.{name}"
    arguments = [*inspect.signature(contract).parameters][1:]
    found = getattr(part, name)
    if not callable(found):
        yield f"{title} is {found!r} and hides the hook {name}({', '.join(arguments)}); give the field another name"
        return
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError:
        own, passed = inspect.signature(getattr(type(part), name)), ", ".join(["self", *arguments])
        yield f"{title} takes {own}, and is given ({passed}); write def {name}({passed})"
    except ValueError:  # a callable without a signature
        return


def _home(part: object, name: str) -> type | None:
    """The user's class that has the attribute; None where it is one of this project's."""
    home = next((kind for kind in type(part).__mro__ if name in vars(kind)), object)
    return home if _is_own(home) else None


def _unused_methods(part: object) -> list[str]:
    """Public methods that only the user's classes have, and that no method of theirs or of their bases mentions."""
    mentioned = {name for kind in type(part).__mro__ for value in vars(kind).values() for name in _mentioned(value)}
    named = [name for kind in type(part).__mro__ if _is_own(kind) for name in vars(kind)]
    return [
        name
        for name in dict.fromkeys(named)
        if not name.startswith("_")
        and isinstance(inspect.getattr_static(part, name), FunctionType | staticmethod | classmethod)
        and name not in mentioned
        and not any(name in vars(kind) for kind in type(part).__mro__ if not _is_own(kind))
    ]


def _mentioned(value: object) -> Iterator[str]:
    """Names of attributes and variables that a method's code reads, also within functions inside it."""
    if isinstance(value, property):
        yield from _mentioned(value.fget)
    function = getattr(value, "__func__", value)
    codes = [function.__code__] if isinstance(function, FunctionType) else []
    while codes:
        code = codes.pop()
        yield from code.co_names
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _is_own(kind: type) -> bool:
    """Whether a class is a user's own."""
    return kind is not object and kind.__module__.partition(".")[0] not in (*OURS, "builtins", "abc", "typing")
