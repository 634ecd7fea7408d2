"""Which source files of a user's own a component consists of: its file, and the modules that it imports from there.

Found in the syntax trees, without executing anything: what code imports under a name that it makes up as it runs is
not seen, nor which other files it opens.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import all_suffixes
from pathlib import Path

from fedlt.errors import ScenarioError
from fedlt.source import read

OURS = ("fedlt", "strategies", "clients", "server")  # what is imported from here is this project's


def own_files(path: Path, installed: str = "") -> dict[str, Path]:
    """A component's source files by name: `mine.py`, and beside or beneath it `helper.py`, `losses/focal.py`.

    path: the component's own file. installed: the top package of a component that comes from one; then the files are
    those of this package only. Else modules are looked for beside the file, and where Python looks for modules that
    are not installed (the folder that it was started in, `PYTHONPATH`). Raises `ScenarioError` for unreadable Python.
    """
    if installed:
        inside = next((folder for folder in path.parents if folder.name == installed), path)
        roots = [inside.parent]
    else:
        roots = list(dict.fromkeys([path.parent, *_user_folders()]))

    found = {path: path.name}
    waiting = [path]
    while waiting:
        current = waiting.pop()
        try:
            tree = read(current)[0]
        except ScenarioError:
            if current == path:
                raise
            continue  # whether it is ever executed is not known
        for name in _imported(tree, _package(current, roots)):
            if installed in ("", name.split(".")[0]):
                fresh = {file: shown for file, shown in _located(name, roots) if file not in found}
                waiting += [file for file in fresh if file.suffix == ".py"]
                found |= fresh

    named: dict[str, Path] = {}
    for file, shown in found.items():
        named[shown if shown not in named else str(file)] = file
    return named


def _user_folders() -> Iterator[Path]:
    """Where Python looks for modules, without what is installed and what belongs to Python."""
    for entry in sys.path:
        folder = Path(os.path.abspath(entry))
        installed = {"site-packages", "dist-packages"}.intersection(folder.parts)
        if not installed and not folder.is_relative_to(sysconfig.get_path("stdlib")) and folder.is_dir():
            yield folder


def _package(file: Path, roots: list[Path]) -> list[str]:
    """The names of the packages that a module lies in, outermost first; none for a module in one of the roots."""
    root = next((root for root in roots if file.is_relative_to(root)), file.parent)
    return list(file.parent.relative_to(root).parts)


def _imported(tree: ast.Module, package: list[str]) -> Iterator[str]:
    """Dotted names of what may be modules, of every import in a file, also of those within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (str(given.value) for given in node.args[:1] if isinstance(given, ast.Constant))


def _located(name: str, roots: list[Path]) -> Iterator[tuple[Path, str]]:
    """The files that are executed for an import of a dotted name, and their names relative to the root: packages'
    `__init__.py` and the module; none for what is not found in the roots, and for this project's own."""
    parts = [part for part in name.split(".") if part]
    for root in roots:
        here, hits = root, []
        for part in parts:
            inner = here / part
            module = next((f for s in all_suffixes() if (f := here / f"{part}{s}").is_file()), None)
            init = inner / "__init__.py"
            if init.is_file():
                hits.append(init)
            elif module is not None:
                hits.append(module)
                break
            elif not inner.is_dir():
                break  # a name within the module
            here = inner
        if hits:
            if not _is_ours(hits[0]):
                yield from ((file, file.relative_to(root).as_posix()) for file in hits)
            return


def _is_ours(file: Path) -> bool:
    return any(file.is_relative_to(Path(__file__).resolve().parent.parent / package) for package in OURS)
