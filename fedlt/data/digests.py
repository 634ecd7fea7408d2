"""Digests of what files hold. A file that has not changed since is not read again.

What was found is kept in the cache's folder, by path, size, times of change and inode:

    <cache>/digests/<hash of the paths>.json      what the system says of the files, and their digests

A time of change tells edits apart no finer than the clock of the file system ticks. So a digest is kept only if the
files had lain still for a while when they were read: an edit afterwards then changes their time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.process.cache import cache_folder
from fedlt.process.files import replace_file

SETTLED = 2 * 10**9  # ns that files must have lain still for; the coarsest clocks of file systems tick every 2 s
LISTED = 64  # names at most: of more files, only the folders are told apart
PIECE = 2**20  # bytes read at a time
ATTEMPTS = 3

State = list[list[int]]


def digests(files: Mapping[str, Path], cache_dir: Path | str | None = None) -> dict[str, str]:
    """SHA-256 of what each file holds, by its name; of many files, one for each of their folders (`train/cat/`).

    Args:
        files: path by name, the name relative to what the files belong to, with slashes.
        cache_dir: see `cache_folder`.

    Raises:
        OSError: for a file that cannot be read.
        FedLTError: for one that is being written.
    """
    paths = {name: Path(os.path.abspath(path)) for name, path in files.items()}
    key = hashlib.sha256(json.dumps([(name, str(path)) for name, path in paths.items()]).encode()).hexdigest()
    place = cache_folder(cache_dir) / "digests" / f"{key[:32]}.json"
    state = _state(paths)
    known = _recall(place, state)
    if known is not None:
        return known

    for _ in range(ATTEMPTS):
        begun = time.time_ns()
        grouped = _grouped({name: file_digest(path) for name, path in paths.items()})
        before, state = state, _state(paths)
        if state == before:
            if all(begun - max(changed, modified) >= SETTLED for _, modified, changed, *_ in state):
                _keep(place, state, grouped)
            return grouped
    raise FedLTError(f"{next(iter(paths.values()))} (or a file beside it) is being written; wait for its end")


def stamp(files: Sequence[Path]) -> dict[str, str]:
    """The digests of a data set's files, by their paths from the folder that all are in.

    Raises:
        ScenarioError: under `data.name` for a file that cannot be read.
    """
    if not files:
        return {}
    folder = os.path.commonpath([path.parent for path in files])
    try:
        return digests({path.relative_to(folder).as_posix(): path for path in files})
    except OSError as error:
        raise ScenarioError(Problem("data.name", f"{error.filename} cannot be read: {error.strerror}")) from error


def file_digest(path: Path) -> str:
    """SHA-256 of what a file holds."""
    digest = hashlib.sha256()
    for piece in pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def pieces(path: Path) -> Iterator[bytes]:
    """What a file holds, piece by piece."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _state(paths: Mapping[str, Path]) -> State:
    """Size, time of the last change of content and of anything (ns), inode and device of each file.

    The second time cannot be set by programs: it changes also where a copy keeps the first.
    """
    stats = map(os.stat, paths.values())
    return [[s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev] for s in stats]


def _recall(place: Path, state: State) -> dict[str, str] | None:
    """The digests that were kept for this state of the files."""
    try:
        recorded = json.loads(place.read_text(encoding="utf-8"))
        return dict(recorded["digests"]) if recorded["state"] == _compact(state) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(place: Path, state: State, found: Mapping[str, str]) -> None:
    """In one step, so that a reader meets a whole file; where the disk refuses, the files are read again next time."""
    text = json.dumps({"state": _compact(state), "digests": found})
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, lambda draft: draft.write_text(text, encoding="utf-8"))


def _compact(state: State) -> str:
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _grouped(found: Mapping[str, str]) -> dict[str, str]:
    """The digests of at most `LISTED` names: of the files, else of their folders, else of the folders above."""
    shown = dict(found)
    while len(shown) > LISTED:
        folders: dict[str, list[tuple[str, str]]] = {}
        for name, digest in shown.items():
            parent = name.rstrip("/").rpartition("/")[0]
            folders.setdefault(f"{parent}/" if parent else "all files", []).append((name, digest))
        shown = {
            folder: hashlib.sha256(json.dumps(sorted(held)).encode()).hexdigest() for folder, held in folders.items()
        }
    return shown
