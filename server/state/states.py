"""What clients keep between rounds, on disk: a round costs what its cohort keeps, however many clients there are.

Records are appended to a segment file; memory holds where each client's last record lies. A checkpoint names the
segments and their lengths, and nothing that it names is ever edited. When more than half of what lies there is out of
date, the last records move to a new segment.

A record is the client's number and the length of what follows (16 bytes, little-endian), then its tensors in the
safetensors format.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.torch import load, save

from fedlt.exchange import States
from fedlt.process.files import flush
from server.state import durable

HEAD = struct.Struct("<qQ")
SLACK = 2**24  # bytes that may be out of date before it is worth moving anything

Extent = tuple[str, int, str]
"""Name, length in bytes and SHA-256 of a segment, or of its beginning."""


@dataclass
class _Segment:
    path: Path
    file: BinaryIO
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def append(self, client: int, content: bytes) -> int:
        """Where the content lies."""
        for piece in (HEAD.pack(client, len(content)), content):
            self.file.write(piece)
            self.digest.update(piece)
            self.size += len(piece)
        return self.size - len(content)

    @property
    def extent(self) -> Extent:
        return self.path.name, self.size, self.digest.hexdigest()


class StateStore:
    """Tensors by client.

    Attributes:
        folder: made when there is something to keep; only files of this class belong into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: list[_Segment] = []
        self._open = False  # whether the last segment may be appended to
        self._where: dict[int, tuple[_Segment, int, int]] = {}  # segment, offset and length of the content
        self._live = 0
        self._kept: set[str] = set()  # names of segments that a checkpoint needs

    def __contains__(self, client: int) -> bool:
        return client in self._where

    def __len__(self) -> int:
        return len(self._where)

    @property
    def size(self) -> int:
        """Bytes that the segments take."""
        return sum(segment.size for segment in self._segments)

    def clients(self) -> list[int]:
        """Clients that keep something, in ascending order."""
        return sorted(self._where)

    def record(self, client: int) -> bytes:
        """What a client keeps, in the safetensors format."""
        segment, offset, length = self._where[client]
        return os.pread(segment.file.fileno(), length, offset)

    def read(self, clients: Iterable[int]) -> States:
        """Tensors of the clients, in their order."""
        return {client: load(self.record(client)) for client in clients}

    def update(self, states: States) -> None:
        """Keep new tensors of some clients in place of their old ones."""
        for client, tensors in states.items():
            self._append(client, save({name: value.cpu().contiguous() for name, value in tensors.items()}))
        if self._open:
            self._segments[-1].file.flush()  # to the system: read back by position, and not written twice by a fork
        if self.size > 2 * self._live + SLACK:
            self._compact()

    def flush(self) -> list[Extent]:
        """Flush everything to the disk; what a checkpoint must name."""
        for segment in self._segments:
            os.fsync(segment.file.fileno())
        if self._segments:
            flush(self.folder)
        return [segment.extent for segment in self._segments]

    def restore(self, extents: Iterable[Extent]) -> None:
        """Take back what the segments held.

        Raises:
            ValueError: where one is torn or altered.
        """
        self.close()
        for name, size, digest in extents:
            segment = _Segment(self.folder / name, (self.folder / name).open("rb"))
            self._segments.append(segment)
            for client, offset, length in _scan(segment, size):
                self._put(client, segment, offset, length)
            if segment.extent != (name, size, digest):
                raise ValueError(f"{segment.path} does not have the content that was written")

        self._open = False

    def keep(self, names: Iterable[str]) -> None:
        """Delete the segments that neither this store nor a checkpoint needs; the latter's are named here."""
        self._kept = set(names)
        needed = self._kept | {segment.path.name for segment in self._segments}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in needed:
                    path.unlink()

    def close(self) -> None:
        """Forget everything and close the files, which stay."""
        for segment in self._segments:
            segment.file.close()
        self._segments, self._where, self._live, self._open = [], {}, 0, False

    def _append(self, client: int, content: bytes) -> None:
        """Write a client's record to the last segment."""
        if not self._open:
            self._begin()
        segment = self._segments[-1]
        offset = segment.append(client, content)
        self._put(client, segment, offset, len(content))

    def _put(self, client: int, segment: _Segment, offset: int, length: int) -> None:
        """Note where a client's record lies; its former one is then dead.

        Args:
            segment: the file.
            offset, length: of the record in it, in bytes.
        """
        if client in self._where:
            self._live -= HEAD.size + self._where[client][2]
        self._live += HEAD.size + length
        self._where[client] = segment, offset, length

    def _begin(self) -> None:
        """Begin a new segment, whose number no other one has."""
        durable.make(self.folder)
        numbers = [int(path.stem) for path in self.folder.glob("*.states")]  # also those that only a checkpoint needs
        path = self.folder / f"{max(numbers, default=0) + 1:06d}.states"
        self._segments.append(_Segment(path, path.open("w+b")))
        self._open = True

    def _compact(self) -> None:
        """Write all live records to new segments, and close the old ones."""
        old = list(self._segments)
        self._begin()
        for client in self.clients():
            self._append(client, self.record(client))
        for segment in old:
            segment.file.close()
        self._segments = self._segments[-1:]
        self._segments[-1].file.flush()
        self.keep(self._kept)


def _scan(segment: _Segment, size: int) -> Iterator[tuple[int, int, int]]:
    """Client, offset and length of every record within the first `size` bytes, which are counted and hashed."""
    while segment.size < size:
        head = segment.file.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        client, length = HEAD.unpack(head)
        content = segment.file.read(min(length, size))
        for piece in (head, content):
            segment.digest.update(piece)
            segment.size += len(piece)
        if len(content) < length:
            return
        yield client, segment.size - length, length
