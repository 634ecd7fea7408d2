"""Opens .npz files that may be anything: no pickles, no more than fits into memory, one error for all that is wrong."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile

    from fedlt.errors import ScenarioError

BROKEN = (OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What zipfile and NumPy raise when a file is torn, altered, or written by another program (NotImplementedError is a
RuntimeError)."""


@contextmanager
def opened(path: Path, refuse: Callable[[str], ScenarioError]) -> Iterator[NpzFile]:
    """The arrays of the file; whatever goes wrong while they are read is raised as `refuse(message)`."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise refuse(f"{path} holds a single array; write it with numpy.savez")
        with loaded as content:
            size = sum(item.file_size for item in zipfile.ZipFile(path).infolist())
            if size > _memory():
                raise refuse(f"{path} unpacks to {size / 2**30:.1f} GiB, more than this machine's memory")
            yield content
    except BROKEN as error:
        raise refuse(f"{path} is not a readable .npz file of plain arrays: {error}") from error


def _memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
