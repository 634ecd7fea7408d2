"""Which source files of a user's own a component consists of: its file, and the modules that it imports from there.

Found in the syntax trees, without executing anything: what code imports under a name that it makes up as it runs is
not seen, nor which other files it opens.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import invalidate_caches
from importlib.machinery import all_suffixes
from importlib.util import cache_from_source
from os.path import isdir, isfile, join
from pathlib import Path
from types import ModuleType
from typing import Any

from fedlt.config.own_lines import told
from fedlt.config.source import read
from fedlt.config.whose import is_installed, is_ours
from fedlt.errors import Problem, ScenarioError


def own_files(path: Path, installed: str = "") -> dict[str, Path]:
    """A component's source files by name: `mine.py`, and beside or beneath it `helper.py`, `losses/focal.py`.

    Args:
        path: the component's own file.
        installed: the top package of a component that comes from one; then the files are those of this package only.
            Else modules are looked for where Python finds those that are not installed (the folder that it was started
            in, `PYTHONPATH`), and beside the file.

    Raises:
        ScenarioError: for unreadable Python.
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
        names = [name for name in _imported(tree) if installed in ("", name.split(".")[0])]
        located = [hit for name in names for hit in _located(name, roots)]
        located += [(file, _shown(file, [path.parent, *roots])) for file in _beside(tree, current)]
        fresh = {file: shown for file, shown in located if file not in found}
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

    Need is where the text of one changed since this process may have imported it, and where it imported another one of
    that name, for a component of another folder.

    Args:
        path: the component's file.
        modules: those that it imports, by their names as `own_files` gives them.
        texts: what they hold.
    """
    changed = any(_taken[p] != text if p in _taken else p.stat().st_mtime_ns >= _begun for p, text in texts.items())
    names = {name.rpartition(".")[0].removesuffix("/__init__"): file for name, file in modules.items()}
    # Where no text has changed, names tell: to look up the files of thousands of modules takes a tenth of a second.
    for name in list(sys.modules) if changed else [name.replace("/", ".") for name in names]:
        file = getattr(sys.modules.get(name), "__file__", None)
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


def _shown(file: Path, roots: list[Path]) -> str:
    """The file's name from the first root that it lies beneath."""
    root = next((root for root in roots if file.is_relative_to(root)), file.parent)
    return file.relative_to(root).as_posix()


def _imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of what may be modules, of every absolute import in a file, also of those within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (str(given.value) for given in node.args[:1] if isinstance(given, ast.Constant))


def _beside(tree: ast.Module, current: Path) -> Iterator[Path]:
    """The files of what a file imports from its own folder, or from those above, by leading dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = current.parents[min(node.level, len(current.parents)) - 1]
            names = [".".join(filter(None, [node.module, alias.name])) for alias in node.names]
            yield from (file for name in names for file, _ in _located(name, [folder]))


def _located(name: str, roots: list[Path]) -> Iterator[tuple[Path, str]]:
    """The files that are executed for an import of a dotted name, and their names relative to the root: packages'
    `__init__.py` and the module; none for what is not found in the roots, and for this project's own.
    """
    parts = [part for part in name.split(".") if part]
    for root in roots:
        here, hits = str(root), []
        for part in parts:
            inner = join(here, part)  # texts, not paths: a run looks for hundreds of files
            module = next((f for s in all_suffixes() if isfile(f := f"{inner}{s}")), None)
            init = f"{inner}/__init__.py"
            if isfile(init):
                hits.append(Path(init))
            elif module is not None:
                hits.append(Path(module))
                break
            elif not isdir(inner):
                break  # a name within the module
            here = inner
        if hits:
            if not is_ours(hits[0]):
                yield from ((file, file.relative_to(root).as_posix()) for file in hits)
            return


class _Importer:
    """What `import` does in a component's file, also in a method that is called later: a user's own modules are those
    of the file's folder, whatever another component imported under their names.
    """

    def __init__(self, path: Path, modules: Mapping[str, Path], texts: Mapping[Path, bytes]) -> None:
        self._own = path, modules, texts
        self._tops = {name.partition("/")[0].removesuffix(".py") for name in modules}
        self._found: dict[tuple[str, tuple[str, ...]], Any] = {}

    def __call__(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: tuple[str, ...] | None = (), level: int = 0
    ) -> Any:
        if level or name.partition(".")[0] not in self._tops:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        key = name, tuple(fromlist or ())
        if key not in self._found:
            with importing(*self._own):
                self._found[key] = builtins.__import__(name, globals, locals, fromlist or (), level)
        return self._found[key]


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
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": _Importer(path, modules, texts)}
        if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(read(path)[0])):
            package = sys.modules[f"{name}_folder"] = ModuleType(f"{name}_folder")
            package.__path__ = [str(path.parent)]
            module.__package__ = package.__name__
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
