"""Classes and instances in the place of names: what a scenario calls them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from inspect import isfunction
from pathlib import Path
from typing import Any

from fedlt.config.catalog import FOLDERS, LISTED, find, names
from fedlt.config.cells import written
from fedlt.config.whose import OURS, is_installed
from fedlt.process.files import from_here


def named(value: Any) -> str | Mapping[str, Any] | None:
    """The name of a class, or of a function that makes a model; name and fields of a component; None for other values.

    A component of this project has its short name, one of a file `/path/file.py:Class`, and one of a notebook's cell is
    written to a file first.

    Raises:
        TypeError: where there is no name for it.
    """
    if isinstance(value, type) or isfunction(value):
        return _name_of(value)
    if is_dataclass(value):
        options = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        return {"name": _name_of(type(value)), **options}
    if any(base.__name__ == "Module" and base.__module__.startswith("torch.nn.") for base in type(value).__mro__):
        made = type(value).__name__
        raise TypeError(
            f"expected a class, got an object of {made}, but each run builds a model of its own; give {made} itself, "
            "and what its constructor takes as keys: {'model': " + made + ", 'model.width': 64}"
        )
    return None


def _name_of(made: Any) -> str:
    """The name by which a scenario finds a class again.

    Raises:
        TypeError: where it was defined within another block.
    """
    module, name = made.__module__, made.__qualname__
    if "." in name:
        raise TypeError(
            f"{name.rpartition('.')[2]} is defined within another block; define it at the top of a cell or file"
        )
    if module.partition(".")[0] in OURS:
        return _built_in(module, name)
    if module == "__main__":
        return written(made)

    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py"):
        raise TypeError(f"the file of {name} is not known; write it to one: './{name.lower()}.py:{name}'")
    path = Path(os.path.realpath(file))
    if is_installed(path):
        raise TypeError(f"{name} comes with {module.partition('.')[0]}; derive a class of your own from it")
    typed = from_here(path)
    return f"{typed}:{name}" if typed.is_absolute() else f"./{typed}:{name}"


def _built_in(module: str, name: str) -> str:
    """The short name of a component of this project."""
    for kind in (*FOLDERS, *LISTED):
        for short in names(kind):
            if find(kind, short).target == f"{module}:{name}":
                return short
    raise TypeError(f"{name} is no component that a scenario names; derive a class of your own from it")
