"""Whose a source file is: this project's, an installed package's, or a user's own."""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

OURS = ("fedlt", "strategies", "clients", "server")  # what is imported from here is this project's


def is_ours(file: Path) -> bool:
    """Whether a file is of this project."""
    return any(file.is_relative_to(folder) for folder in _our_folders())


def is_installed(path: Path) -> bool:
    """Whether a file is of an installed package, or belongs to Python."""
    folders = {"site-packages", "dist-packages"}
    return bool(folders.intersection(path.parts)) or path.is_relative_to(_of_python())


@cache
def _our_folders() -> tuple[Path, ...]:
    root = Path(__file__).resolve().parents[2]
    return tuple(root / package for package in OURS)


@cache
def _of_python() -> str:
    """The folder of Python's own modules."""
    return sysconfig.get_path("stdlib")
