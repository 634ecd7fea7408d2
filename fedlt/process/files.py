"""Files that are there whole or not at all, for whoever reads them meanwhile and after a crash."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def from_here(path: Path) -> Path:
    """The path as one would type it in this folder: without the folders above, where it lies beneath."""
    path, here = path.expanduser().resolve(), Path.cwd().resolve()
    return path.relative_to(here) if path.is_relative_to(here) else path


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new file of the same folder, then move it over `path` in one step.

    Processes that do so at once do not meet: the last one's file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link(source: Path, target: Path) -> None:
    """The present content of `source` under a second name. `source` may be replaced later, but is never edited."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
