"""Objects on their way between the processes of one machine: large arrays as files in memory, the rest as bytes."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedlt.errors import FedLTError

LARGE = 2**15  # bytes; what is smaller is quicker through a pipe, which takes several times as much unread
AGAIN = ".again"  # ends the name of a file that is used again
FREE = "free-"  # begins the name of such a file while nobody uses it; its size in bytes follows


class Parcels:
    """Pickles objects; byte strings from `LARGE` on, NumPy's uint8 as well, become files in `folder`, which the other
    side maps and deletes. The files of NumPy's are written again, once nobody reads them: a new page of a memory file
    system costs more than to fill it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self._shared: dict[int, str] | None = None
        self._whole: list[str] = []
        self._maps: dict[str, memoryview] = {}

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within it, a byte string that several objects hold is written once, and the files stay until the end."""
        self._shared = {}
        try:
            yield
        finally:
            for name in [*self._shared.values(), *self._whole]:  # the latter where nobody lived to read them
                (self.folder / name).unlink(missing_ok=True)
            self._shared, self._whole = None, []

    def pack(self, content: Any) -> bytes:
        """The object as bytes, without what became files; fewer than `LARGE`, so that a pipe takes several of them
        before anybody reads.
        """
        stream = io.BytesIO()
        _Pickler(stream, self._write).dump(content)
        packed = stream.getvalue()
        if len(packed) < LARGE:
            return packed
        name = self._write_file(packed)
        if self._shared is not None:
            self._whole.append(name)
        return pickle.dumps(_Name(name))

    def unpack(self, packed: bytes, keep: bool) -> Any:
        """What was packed: the object, whose large arrays lie in files.

        Args:
            keep: leave the files to the other side, and use a file's memory again where the next object names it.
        """
        used: dict[str, memoryview] = {}

        def read(name: str) -> memoryview:
            used[name] = self._maps[name] if name in self._maps else _map(self.folder / name)
            return used[name]

        content = _Unpickler(io.BytesIO(packed), read).load()
        if isinstance(content, _Name):
            path = self.folder / content.file
            packed = path.read_bytes()
            path.unlink()
            content = _Unpickler(io.BytesIO(packed), read).load()
        if keep:
            self._maps = used
        else:
            for name, content_of in used.items():
                self._release(name, content_of)
        return content

    def clear_after(self, pid: int | None) -> None:
        """Delete what a process has left that ended before its parcel was sent."""
        for path in self.folder.glob(f"{pid}-*"):
            path.unlink(missing_ok=True)

    def _release(self, name: str, mapped: memoryview) -> None:
        """Delete a file that is mapped; or free it for another content of its size, when its memory is let go."""
        path = self.folder / name
        if not name.endswith(AGAIN):
            path.unlink()
            return
        free = self.folder / f"{FREE}{len(mapped)}-{name}"
        weakref.finalize(mapped.obj, _rename, path, free).atexit = False

    def _write(self, content: Any) -> str | None:
        """Write a large byte string to a file.

        Returns:
            The file's name; None for what is small or no byte string, and travels within the object.
        """
        if not _is_bytes(content) or len(content) < LARGE:
            return None
        if self._shared is not None and id(content) in self._shared:
            return self._shared[id(content)]
        name = self._write_file(content)
        if self._shared is not None:
            self._shared[id(content)] = name
        return name

    def _write_file(self, content: Any) -> str:
        """Write content to a new file, or to the memory of one that nobody reads any more.

        Returns:
            The file's name.
        """
        self._count += 1
        again = type(content) is np.ndarray
        path = self.folder / f"{os.getpid()}-{self._count}{AGAIN if again else ''}"

        # A file that nobody reads any more gives its memory, whose pages need not be found again.
        free = self.folder.glob(f"{FREE}{len(content)}-*") if again else ()

        try:
            with path.open("r+b" if any(_rename(file, path) for file in free) else "wb") as file:
                file.write(memoryview(content))
        except OSError as error:
            raise FedLTError(
                f"a message of {len(content) / 1e6:.1f} MB cannot be written to {self.folder}: {error.strerror}; make "
                "room there, or take fewer workers (resources.workers)"
            ) from error
        return path.name


def _rename(path: Path, name: Path) -> bool:
    """Whether the file was there: another worker may have been quicker, or the grid may be closed."""
    with suppress(FileNotFoundError):
        path.rename(name)
        return True
    return False


def _is_bytes(content: Any) -> bool:
    """Whether it is a byte string, or the same in NumPy's form."""
    return type(content) is bytes or (type(content) is np.ndarray and content.dtype == np.uint8 and content.ndim == 1)


@dataclass(frozen=True)
class _Name:
    """Stands for an object whose pickle is in a file, to be deleted by the reader."""

    file: str


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, write: Callable[[Any], str | None]) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self._write = write

    def persistent_id(self, content: Any) -> str | None:
        return self._write(content)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, read: Callable[[str], memoryview]) -> None:
        super().__init__(stream)
        self._read = read

    def persistent_load(self, name: str) -> memoryview:
        return self._read(name)


def _map(path: Path) -> memoryview:
    """The content of a file, read where it is used."""
    with path.open("rb") as file:  # a private mapping: nobody else sees what is written to it
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
