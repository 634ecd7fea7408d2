"""Opens .npz files that may be anything: no pickles, no more than fits into memory, one error for all that is wrong."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.stored import LARGE, PIECE

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile

    from fedlt.errors import ScenarioError

BROKEN = (OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What zipfile and NumPy raise when a file is torn, altered, or written by another program (NotImplementedError is a
RuntimeError)."""

PICKLED = (
    "an array of Python objects is a pickle, which may run any code when it is read, so it is not; write numbers, and "
    "texts as array.astype(str); pictures of several sizes go into folders (train/CLASS/1.png) with data.size"
)

NO_ARCHIVE = "it is no archive of arrays, as numpy.savez writes it (pickles are not read: they may run any code)"


@contextmanager
def opened(
    path: Path, refuse: Callable[[str], ScenarioError], wanted: Collection[str] | None = None
) -> Iterator[NpzFile]:
    """The arrays of the file; whatever goes wrong while they are read is raised as `refuse(message)`.

    Args:
        path: of the file.
        refuse: makes the error of a message, which names the key that the file stands under.
        wanted: the arrays that will be read, which must fit into memory; None: all of them.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise refuse(f"{path} holds a single array; write it with numpy.savez")

        with loaded as content:
            # Zipped arrays may be far larger than their file.
            read = None if wanted is None else {f"{key}.npy" for key in wanted}
            size = sum(item.file_size for item in _members(path) if read is None or item.filename in read)
            if size > _memory():
                raise refuse(f"{path} unpacks to {size / 2**30:.1f} GiB, more than this machine's memory")
            yield content
    except BROKEN as error:
        reason = PICKLED if "Object arrays" in str(error) else NO_ARCHIVE if "pickled" in str(error) else error
        raise refuse(f"{path} is not a readable .npz file of plain arrays: {reason}") from error


def extracted(path: Path, key: str, target: Path, refuse: Callable[[str], ScenarioError]) -> NDArray[Any]:
    """One array of the file.

    Args:
        path: of the file.
        key: of the array in it.
        target: a file into which a large array is unpacked, to be mapped from there.
        refuse: makes the error of a message.

    Raises:
        ScenarioError: for what cannot be read, and where the disk has no room for it.
    """
    size = next((item.file_size for item in _members(path) if item.filename == f"{key}.npy"), 0)
    if size < LARGE:
        with opened(path, refuse, [key]) as content:
            return content[key]  # type: ignore[no-any-return]
    free = shutil.disk_usage(target.parent).free
    if size > free:
        told = f"{path} unpacks to {size / 2**30:.1f} GiB, and {target.parent} has {free / 2**30:.1f} GiB left"
        raise refuse(f"{told}; set FEDLT_CACHE to a folder with more")

    with opened(path, refuse, []), zipfile.ZipFile(path) as archive:
        with archive.open(f"{key}.npy") as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, PIECE)
        return np.load(target, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def _members(path: Path) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(path) as archive:
        return archive.infolist()


def _memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
