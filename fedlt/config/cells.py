"""Classes of a notebook's cell, or of the script that runs, as files: what a scenario names is a file.

The text of the class is taken, and of whatever it uses: imports, constants, and other classes and functions of the
notebook. What cannot be written down, such as a model or a table, is refused by name. The file lies in the cache's
folder under the digest of its text, and every run keeps a copy of it.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import hashlib
import linecache
import re
import symtable
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import isfunction, ismodule
from pathlib import Path
from typing import Any

from fedlt.process.cache import cache_folder
from fedlt.process.files import replace_file

FUTURE = "from __future__ import annotations\n"


@dataclass(frozen=True)
class _Cell:
    """A cell's text, or that of the whole script, and its statements as text."""

    text: str
    statements: tuple[str, ...]


def written(made: type | Any) -> str:
    """`/path/file.py:Name` for a class or function of the module `__main__`.

    Raises:
        TypeError: where that cannot be.
    """
    name = made.__name__
    cell = _cell_of(made, name)
    if cell is None:
        raise TypeError(f"the text of {name} is not at hand here; write it to a file: './{name.lower()}.py:{name}'")
    writer = _Writer(vars(sys.modules["__main__"]), FUTURE in cell.text or _is_deferred(made))
    writer.add(name, cell)
    if writer.missing:
        names = ", ".join(sorted(writer.missing))
        remedy = "make them fields, define them with plain numbers and texts, or import them from a file"
        raise TypeError(f"{name} uses {names}, which cannot be written to a file; {remedy}")

    text = writer.text()
    folder = cache_folder() / "cells" / hashlib.sha256(text.encode()).hexdigest()[:16]
    file = folder / f"{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()}.py"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(file, lambda path: path.write_text(text, encoding="utf-8"))
    return f"{file}:{name}"


class _Writer:
    """Gathers statements, each behind those that it needs.

    Attributes:
        namespace: what the names stand for now.
        deferred: whether annotations are not evaluated.
    """

    def __init__(self, namespace: Mapping[str, Any], deferred: bool) -> None:
        self.namespace, self.deferred = namespace, deferred
        self.missing: set[str] = set()
        self._head: dict[str, None] = {}
        self._body: dict[str, None] = {}
        self._seen: set[str] = set()

    def text(self) -> str:
        """The file: imports, constants, and then the rest."""
        imports = [line for line in self._head if line.startswith(("import ", "from "))]
        head = "\n".join([*sorted(imports), *sorted(self._head.keys() - set(imports))])
        return (FUTURE if self.deferred else "") + "\n\n\n".join([head, *self._body]) + "\n"

    def add(self, name: str, cell: _Cell, required: bool = True) -> None:
        """Write what binds a name that code of that cell uses.

        Args:
            required: else it may be missing.
        """
        if name in self._seen:
            return
        self._seen.add(name)
        binding = [text for text in cell.statements if name in _bound(text)]
        for text in binding:
            needed = _used(FUTURE + text if self.deferred else text)
            for other in sorted(_used(text) - _bound(text)):
                self.add(other, cell, required=other in needed)
            (self._head if text.startswith(("import ", "from ")) else self._body)[text] = None
        if not binding and not (hasattr(builtins, name) and name not in self.namespace):
            self._add_value(name, required)

    def _add_value(self, name: str, required: bool) -> None:
        """Write what a name stands for that another cell bound."""
        if name not in self.namespace:
            self.missing |= {name} if required else set()
            return

        value = self.namespace[name]
        home, attribute = getattr(value, "__module__", None), getattr(value, "__name__", name)
        cell = _cell_of(value, attribute) if home == "__main__" and callable(value) else None

        # A module, a definition of another cell, an import from a module, or a literal.
        if ismodule(value):
            self._head[f"import {value.__name__}" + (f" as {name}" if value.__name__ != name else "")] = None
        elif cell is not None:
            self._seen.discard(attribute)
            self.add(attribute, cell)
            if attribute != name:
                self._body[f"{name} = {attribute}"] = None
        elif home != "__main__" and getattr(sys.modules.get(str(home)), attribute, None) is value is not None:
            self._head[f"from {home} import {attribute}" + (f" as {name}" if attribute != name else "")] = None
        elif _is_literal(value):
            self._head[f"{name} = {value!r}"] = None
        elif required:
            self.missing.add(name)


def _cell_of(made: Any, name: str) -> _Cell | None:
    """The text that a class or function was made from; None where it is not kept."""
    main = sys.modules["__main__"]
    functions = [made] if isfunction(made) else [each for each in vars(made).values() if isfunction(each)]
    for function in functions:
        lines = linecache.getlines(function.__code__.co_filename)
        if lines and (cell := _parsed("".join(lines))) and any(name in _bound(text) for text in cell.statements):
            return cell

    # A class without a function of its own: the newest cell, or the script, that has one of its name.
    file = getattr(main, "__file__", None)
    texts = [Path(file).read_text("utf-8")] if file and Path(file).is_file() else reversed(vars(main).get("In", []))
    cells = (_parsed(text) for text in texts)
    return next((cell for cell in cells if cell and any(name in _bound(text) for text in cell.statements)), None)


def _parsed(text: str) -> _Cell | None:
    """The statements with their decorators and the comments behind their lines; None for what is no Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    lines = text.splitlines()
    statements = []
    for node in tree.body:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        if not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            statements.append("\n".join(lines[first - 1 : node.end_lineno]))
    return _Cell(text, tuple(statements))


def _tables(text: str) -> Iterator[symtable.SymbolTable]:
    """The scopes of a statement, its own first."""
    waiting = [symtable.symtable(text, "cell", "exec")]
    while waiting:
        table = waiting.pop()
        yield table
        waiting += table.get_children()


def _bound(text: str) -> set[str]:
    """The names that a statement binds in its module."""
    try:
        symbols = next(_tables(text)).get_symbols()
    except SyntaxError:
        return set()
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def _used(text: str) -> set[str]:
    """The names of its module that a statement reads, at once or when its functions are called."""
    used = set()
    for number, table in enumerate(_tables(text)):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or number == 0):
                used.add(symbol.get_name())
    return used


def _is_literal(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _is_deferred(made: Any) -> bool:
    """Whether a class or function was compiled with annotations that are not evaluated."""
    functions = [made] if isfunction(made) else [each for each in vars(made).values() if isfunction(each)]
    flag = __future__.annotations.compiler_flag
    return any(function.__code__.co_flags & flag for function in functions if function.__module__ == "__main__")
