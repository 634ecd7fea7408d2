"""Files that survive a crash of the process or of the machine: what is published is whole, or it is not there.

A folder is filled beside its final name, flushed file by file, and then takes its name in one step. Every change
that a crash could cut in two goes through the functions here, so that tests can cut at each of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedlt.errors import FedLTError
from fedlt.process.files import flush

PIECE = 2**20  # bytes read at a time

ASIDE = ".removed-"  # begins the names of folders that are being deleted
PART = ".part-"  # begins the names of folders that are being filled


def write(path: Path, content: bytes) -> None:
    """A new file with this content, flushed to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def rename(source: Path, target: Path) -> None:
    """Move within one folder, in one step, and flush the folder."""
    os.replace(source, target)
    flush(target.parent)


def make(folder: Path) -> None:
    """Make a folder and those above it, and flush their names."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        flush(path.parent)


def part(final: Path) -> Path:
    """A new folder beside `final`, to be filled and then published."""
    folder = final.with_name(f"{PART}{final.name}")
    make(final.parent)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def publish(folder: Path, final: Path) -> None:
    """Give a filled folder its final name. Its files are flushed already."""
    flush(folder)
    rename(folder, final)


def discard(path: Path) -> None:
    """Delete a folder. At no moment does it stand half empty under its name."""
    if path.exists():
        aside = path.with_name(f"{ASIDE}{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        rename(path, aside)
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what a crash left of folders that were being filled or deleted."""
    for entry in folder.glob(".*"):
        if entry.name.startswith((ASIDE, PART)):
            shutil.rmtree(entry, ignore_errors=True)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder.

    The system lets go of it however this process ends; what it forks meanwhile does not hold the folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    _locks.add(descriptor)

    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FedLTError(f"another process is running in {folder}; wait for it, or give another --out") from error

        yield
    finally:
        _locks.discard(descriptor)
        os.close(descriptor)


_locks: set[int] = set()


def _let_go() -> None:
    """Give up the locks that were inherited by a fork."""
    for descriptor in _locks:
        os.close(descriptor)
    _locks.clear()


os.register_at_fork(after_in_child=_let_go)
