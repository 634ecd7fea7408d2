"""Which source files of a user's own a component consists of: its file, and the modules that it imports from there.

Found in the syntax trees, without executing anything: what code imports under a name that it makes up as it runs is
not seen, nor which other files it opens.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import invalidate_caches
from importlib.machinery import all_suffixes
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType
from typing import Any

from fedlt.config.own_lines import told
from fedlt.config.source import read
from fedlt.config.whose import is_installed, is_ours
from fedlt.errors import Problem, ScenarioError


def own_files(path: Path, installed: str = "") -> dict[str, Path]:
    """A component's source files by name: `mine.py`, and beside or beneath it `helper.py`, `losses/focal.py`.

    path: the component's own file. installed: the top package of a component that comes from one; then the files are
    those of this package only. Else modules are looked for where Python finds those that are not installed (the folder
    that it was started in, `PYTHONPATH`), and beside the file. Raises `ScenarioError` for unreadable Python.
    """
    if installed:
        inside = next((folder for folder in path.parents if folder.name == installed), path)
        roots = [inside.parent]
    else:
        roots = list(dict.fromkeys([*_user_folders(), path.parent]))

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


_begun = time.time_ns()
_taken: dict[Path, bytes] = {}
"""Texts of the modules that components imported last, in this process."""


@contextmanager
def importing(path: Path, modules: Mapping[str, Path], texts: Mapping[Path, bytes]) -> Iterator[None]:
    """While the block executes a component's file, modules are found beside it, and imported anew if need be.

    path: the component's file. modules: those that it imports, by their names as `own_files` gives them. texts: what
    they hold. Need is where the text of one changed since this process may have imported it, and where it imported
    another one of that name, for a component of another folder.
    """
    changed = any(_taken[p] != text if p in _taken else p.stat().st_mtime_ns >= _begun for p, text in texts.items())
    names = {name.rpartition(".")[0].removesuffix("/__init__"): file for name, file in modules.items()}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name != "__main__" and file:
            here = Path(os.path.realpath(file))
            # If one has changed, all: another may hold on to what it took from it.
            other = names.get(name.replace(".", "/"), here) != here and not is_installed(here)
            if other or (changed and here in texts):
                del sys.modules[name]

    for file in texts:  # compiled before the edit, which Python does not see within one second and at one size
        compiled = Path(cache_from_source(str(file))) if file.suffix == ".py" else file
        if compiled.is_file() and compiled.stat().st_mtime_ns < file.stat().st_mtime_ns:
            with suppress(OSError):
                compiled.unlink()

    invalidate_caches()
    _taken.update(texts)
    beside = str(path.parent)
    if beside in sys.path:
        yield
        return
    sys.path.append(beside)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(beside)


def _user_folders() -> Iterator[Path]:
    """Where Python looks for modules, without what is installed and what belongs to Python."""
    for entry in sys.path:
        folder = Path(os.path.realpath(entry))
        if folder.is_dir() and not is_installed(folder):
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
            if not is_ours(hits[0]):
                yield from ((file, file.relative_to(root).as_posix()) for file in hits)
            return


def import_file(kind: str, path: Path) -> Any:
    """A user's file as a module; imported anew when its text or that of a module which it imports changes."""
    source = path.read_bytes()
    modules = {name: file for name, file in own_files(path).items() if file != path}
    texts = {file: file.read_bytes() for file in modules.values()}
    content = [str(path).encode() + source, *(str(file).encode() + text for file, text in texts.items())]
    name = f"fedlt_user_{path.stem}_{hashlib.sha256(b''.join(content)).hexdigest()[:8]}"

    if name not in sys.modules:
        module = sys.modules[name] = ModuleType(name)
        module.__file__ = str(path)
        try:  # not by Python's loader: its cache of compiled files tells texts apart by size and whole seconds
            with importing(path, modules, texts):
                exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
        except Exception as error:
            del sys.modules[name]
            message = f"{path} cannot be imported: {told(error)}"
            if "non-frozen dataclass from a frozen one" in message:
                message += "; write @dataclass(frozen=True)"
            raise ScenarioError(Problem(kind, message)) from error

    return sys.modules[name]
