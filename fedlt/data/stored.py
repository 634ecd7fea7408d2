"""Arrays that are larger than a process should hold: written row by row to `.npy` files, and mapped from there.

A mapped page that was read counts as resident until it is given back. `pieces`, `gathered` and `saved` give pages back
as they go, so that none of them holds much more than `PIECE` bytes of a mapped array. What was given back is read anew
from the file when it is wanted, usually from the system's own cache.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from fedlt.data.coding import refuse

LARGE = 2**26
"""Bytes from which on an array in the making goes to a file."""

PIECE = 2**24
"""Bytes read or written at a time."""


class RowWriter:
    """An array [count, ...] in the making: in memory, or in a file where it is `LARGE` and there is a place for one.

    Attributes:
        place: folder for the file; None: memory, whatever the size.
        name: of the file, without ending.
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: DTypeLike, place: Path | None, name: str) -> None:
        self.shape, self.dtype, self._at = (count, *shape), np.dtype(dtype), 0
        self._file: BinaryIO | None = None
        self._array = np.empty(0, self.dtype)
        if place is None or count * int(np.prod(shape)) * self.dtype.itemsize < LARGE:
            self._array = np.empty(self.shape, self.dtype)
            return

        self._path = place / f"{name}.npy"
        try:
            self._file = self._path.open("wb")
            _write_header(self._file, self.shape, self.dtype)
            self._start = self._file.tell()
        except OSError as error:
            raise self._unwritten(error) from error

    def append(self, rows: NDArray[Any]) -> None:
        """The next rows, [n, ...].

        Raises:
            ScenarioError: where the disk refuses.
        """
        if self._file is None:
            self._array[self._at : self._at + len(rows)] = rows
        else:
            try:
                self._file.write(np.ascontiguousarray(rows, self.dtype).data)
            except OSError as error:
                raise self._unwritten(error) from error
        self._at += len(rows)

    def array(self) -> NDArray[Any]:
        """All rows that were appended; those of a file are mapped for reading."""
        if self._file is None:
            return self._array[: self._at]
        try:
            self._file.close()
        except OSError as error:
            raise self._unwritten(error) from error
        if self._at < len(self):  # the head of the file promises more
            return np.memmap(self._path, self.dtype, "r", self._start, (self._at, *self.shape[1:]))
        return np.load(self._path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return self.shape[0]

    def _unwritten(self, error: OSError) -> Exception:
        size = np.prod(self.shape, dtype=np.float64) * self.dtype.itemsize / 2**30
        told = f"the decoded array of {size:.1f} GiB cannot be written to {self._path.parent} ({error.strerror})"
        return refuse(f"{told}; make room there, or set FEDLT_CACHE to a folder with more")


def pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of an array in pieces of about `PIECE` bytes; of a mapped one, the pages are given back after each."""
    if not len(array):
        return
    rows = max(1, PIECE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        release(array)


def gathered(array: NDArray[Any], rows: NDArray[np.int64], place: Path | None, name: str) -> NDArray[Any]:
    """Some rows of an array, in a file where they are many (see `RowWriter`).

    Args:
        array: [N, ...], read piece by piece.
        rows: int64 [n].
        place: folder of the file; None: memory.
        name: of the file.
    """
    writer = RowWriter(len(rows), array.shape[1:], array.dtype, place, name)
    step = max(1, PIECE * len(array) // max(1, array.nbytes))
    for start in range(0, len(rows), step):
        writer.append(array[rows[start : start + step]])
        release(array)
    return writer.array()


def saved(path: Path, array: NDArray[Any]) -> None:
    """Write the array to a `.npy` file, by a new name alone where a file of the folder holds it. Raises OSError."""
    if mapping(array) is None:
        np.save(path, array)
        return
    made = file_of(array)
    if made is not None and made.parent == path.parent:
        made.rename(path)
        return
    with path.open("wb") as sink:
        _write_header(sink, array.shape, array.dtype)
        for piece in pieces(array):
            sink.write(np.ascontiguousarray(piece).data)


def file_of(array: NDArray[Any]) -> Path | None:
    """The `.npy` file that a mapped array is, all of it, in C order and its very shape; None for a part or a view."""
    if not isinstance(array, np.memmap) or array.filename is None or not array.flags.c_contiguous:
        return None
    path = Path(array.filename)
    if path.suffix != ".npy" or not path.is_file():
        return None
    held = np.load(path, mmap_mode="r", allow_pickle=False)
    alike = (held.shape, held.dtype, held.strides) == (array.shape, array.dtype, array.strides)
    return path if alike else None


def _write_header(sink: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """The head of a `.npy` file of rows in C order."""
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_2_0(sink, header)


def mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """The read-only mapping in which an array lies; None for one in memory."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) and not array.flags.writeable else None


def release(array: NDArray[Any]) -> None:
    """Give back the pages of a mapped array that are resident; its values stay what they are."""
    held = mapping(array)
    if held is not None and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)
