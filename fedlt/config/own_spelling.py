"""What was meant by a component's name that is nearly that of a class in a user's own file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from fedlt.config.schema import suggest
from fedlt.config.source import read
from fedlt.errors import ScenarioError


def meant(kind: str, name: str, folder: Path) -> str:
    """A remedy where `name` leads to a file in `folder`: a path without its class, a module, or a class alone.

    Returns "" where there is no such file.

    Args:
        kind: of the component; a model may be a function, too.
    """
    given, _, attribute = name.partition(":")
    if given.endswith(".py"):
        return _of_file(kind, given, folder)
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", given):
        return ""

    file = f"./{given.replace('.', '/')}.py"
    if attribute or (folder / file).is_file():
        return _of_file(kind, file, folder, attribute)

    for path in sorted(folder.glob("*.py")):
        if given in _named(kind, path):
            return f"; your own is ./{path.name}:{given}"
    return ""


def _of_file(kind: str, file: str, folder: Path, attribute: str = "") -> str:
    """What was meant by a path: `; did you mean ...` with the class of that file; empty where nothing was."""
    path = folder / Path(file).expanduser()
    if not path.is_file():
        return ""
    known = _named(kind, path)
    if attribute in known:
        return f"; a class of your own is named by its file: {file}:{attribute}"
    if attribute:
        return f"; {file} has no class {attribute!r}{suggest(attribute, known)}"
    if not known:
        return f"; {file} has no class at its top"
    return f"; name the class, too: {' or '.join(f'{file}:{each}' for each in known)}"


def _named(kind: str, path: Path) -> list[str]:
    """The classes at the top of a file, and its functions where a model is looked for."""
    sorts = (ast.ClassDef, ast.FunctionDef) if kind == "model" else (ast.ClassDef,)
    try:
        tree = read(path)[0]
    except (ScenarioError, OSError):
        return []
    return [node.name for node in tree.body if isinstance(node, sorts) and not node.name.startswith("_")]
