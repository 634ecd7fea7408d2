"""The project's packages beside `fedlt` are found where they lie, whatever stands first on the path.

Their names are short, and a folder of research code may hold a `server.py`, or a folder `strategies`. So what this
project imports is looked for in its own folder. What others import is theirs: where their path leads to a module of
the same name, they get it, and both go on side by side if theirs is a package without a module that is needed here.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from fedlt.errors import Problem, ScenarioError

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("clients", "server", "strategies", "scenarios")


class _Finder(MetaPathFinder):
    """Finds the packages `BESIDE`, and what is in them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """This project's module, wherever others of that name may lie."""
        top, _, inner = fullname.partition(".")
        if top not in BESIDE:
            return None
        here = PathFinder.find_spec(fullname, [str(ROOT.joinpath(*fullname.split(".")[:-1]))])
        if not _from_outside():
            return here

        theirs = self._elsewhere(fullname, path)
        if inner and theirs is None:  # in a folder without __init__.py, in whose place this package was taken
            theirs = PathFinder.find_spec(fullname, [f"{entry or '.'}/{top}" for entry in sys.path])
        is_file = theirs is not None and theirs.origin is not None
        return theirs if is_file or here is None else here

    def _elsewhere(self, fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """What would be found without this finder."""
        others = (finder.find_spec(fullname, path) for finder in sys.meta_path if finder is not self)
        return next((spec for spec in others if spec is not None), None)


def find_beside() -> None:
    """Let this process find them; to be called when `fedlt` is imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def refuse_taken(*names: str) -> None:
    """Raise `ScenarioError` where modules of others stand in the place of modules of this project.

    Args:
        names: of packages, `server`, all of whose modules are needed; or of a single module, `strategies.fedavg`.
    """
    problems = []
    for name in names:
        top, _, inner = name.partition(".")
        other = sys.modules.get(top)
        if other is None or _is_here(other):
            continue

        needed = [inner] if inner else [path.stem for path in (ROOT / top).iterdir() if not path.stem.startswith("_")]

        # A package in its place hides what it lacks; a single file hides everything.
        clashes = [f"{top}.{module}" for module in needed if _is_taken(other, top, module)]
        if clashes or not hasattr(other, "__path__"):
            file = Path(getattr(other, "__file__", None) or top)
            shown = f"{file.parent.name}/" if file.stem == "__init__" else file.name
            what = f"module {clashes[0]}" if hasattr(other, "__path__") else f"package {top}"
            message = f"your own {shown} was imported in the place of FedLT's {what}; rename yours"
            problems.append(Problem(top, message))

    if problems:
        raise ScenarioError(problems, source="the names of your modules")


def _is_taken(other: ModuleType, top: str, module: str) -> bool:
    """Whether another package has a module or a name of its own where one of this project would be put."""
    held = sys.modules.get(f"{top}.{module}", vars(other).get(module))
    return held is not None and not (isinstance(held, ModuleType) and _is_here(held))


def _is_here(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and any(Path(file).resolve().is_relative_to(ROOT / package) for package in BESIDE)


def _from_outside() -> bool:
    """Whether the import that goes on stands in code that neither this project nor an installed package brings."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "importlib":
        frame = frame.f_back
    file = Path(os.path.realpath(frame.f_code.co_filename))
    ours = any(file.is_relative_to(ROOT / package) for package in (*BESIDE, "fedlt"))
    python = file.is_relative_to(os.path.realpath(sysconfig.get_path("stdlib"))) or file.name.startswith("<frozen")
    return not (ours or python or {"site-packages", "dist-packages"}.intersection(file.parts))
