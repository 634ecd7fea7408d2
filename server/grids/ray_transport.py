"""How messages get to Ray's workers and back: as files in memory of one machine, through Ray's store on a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray
from flwr.app import ArrayRecord, Message

from server.grids.parcels import Parcels

Call = Callable[[Message], tuple[Any, ...]]
"""What a worker is called with for a message; for a second worker, if the first one is lost, it is made again."""


class Transport(Protocol):
    """The server's half and the workers', which get a copy of their own when they start."""

    def sending(self, messages: Sequence[Message]) -> AbstractContextManager[Call]:
        """For the time in which the messages are answered."""

    def read(self, answer: Any) -> Message:
        """A worker's answer."""

    def clear_after(self, pid: int) -> None:
        """Delete what a worker has left that was lost."""

    def receive(self, *call: Any) -> Message:
        """In a worker: the message."""

    def reply(self, message: Message) -> Any:
        """In a worker: the answer as `read` takes it. Its memory may be used again when the next message comes."""


class Files:
    """Arrays lie in a folder of this machine (see `Parcels`), and Ray carries some hundred bytes: its own messages cost
    it the more, the longer they are, and its store some milliseconds.
    """

    def __init__(self, folder: Path) -> None:
        self._parcels = Parcels(folder)

    def __reduce__(self) -> tuple[type[Files], tuple[Path]]:
        return Files, (self._parcels.folder,)

    @contextmanager
    def sending(self, messages: Sequence[Message]) -> Iterator[Call]:
        """Within the block, what a worker is called with for a message: its name, its arrays being files."""
        with self._parcels.shared():
            yield lambda message: (self._parcels.pack(message),)

    def read(self, answer: bytes) -> Message:
        return self._parcels.unpack(answer, keep=False)  # type: ignore[no-any-return]

    def clear_after(self, pid: int) -> None:
        self._parcels.clear_after(pid)

    def receive(self, packed: bytes) -> Message:
        """Put the common records back into a message. What came with the message before is not fetched again."""
        return self._parcels.unpack(packed, keep=True)  # type: ignore[no-any-return]

    def reply(self, message: Message) -> bytes:
        """The reply as it is, its arrays given to Ray without a copy."""
        return self._parcels.pack(message)


class Store:
    """Records that several messages hold (the model, above all) are put into Ray's store once, and fetched once by each
    machine.
    """

    def __init__(self) -> None:
        self._common: dict[Any, Any] = {}

    @contextmanager
    def sending(self, messages: Sequence[Message]) -> Iterator[Call]:
        """Within the block, what a worker is called with for a message; what several messages hold is stored once."""
        uses = Counter(id(record) for message in messages for record in message.content.values())
        stored: dict[int, Any] = {}
        calls: dict[int, tuple[Any, ...]] = {}

        def call(message: Message) -> tuple[Any, ...]:
            if id(message) not in calls:
                calls[id(message)] = message, self._take_out(message, uses, stored)
            return calls[id(message)]

        yield call

    def _take_out(self, message: Message, uses: Counter[int], stored: dict[int, Any]) -> dict[str, list[Any]]:
        """The message's common records, by name: a reference to each in a list (a bare one would be fetched anew for
        every message).

        Args:
            message: loses these records.
            uses: by id of a record, in how many messages it is.
            stored: references to records that are stored already; added to.
        """
        _expose(message)
        common: dict[str, list[Any]] = {}

        for name, record in list(message.content.items()):
            if uses[id(record)] > 1:
                if id(record) not in stored:
                    stored[id(record)] = ray.put(record)
                common[name] = [stored[id(record)]]
                del message.content[name]
        return common

    def read(self, answer: Message) -> Message:
        return answer

    def clear_after(self, pid: int) -> None:
        """Ray does."""

    def receive(self, message: Message, common: dict[str, list[Any]]) -> Message:
        held = {name: reference for name, (reference,) in common.items()}
        self._common = {ref: self._common[ref] if ref in self._common else ray.get(ref) for ref in held.values()}
        for name, reference in held.items():
            message.content[name] = self._common[reference]
        return message

    def reply(self, message: Message) -> Message:
        _expose(message)
        return message


def _expose(message: Message) -> None:
    """Let Ray see the bytes of the arrays as NumPy's, which it shares where bytes are pickled, and copied thrice."""
    for record in message.content.values():
        for array in record.values() if isinstance(record, ArrayRecord) else ():
            if isinstance(array.data, bytes):
                array.data = np.frombuffer(array.data, np.uint8)  # type: ignore[assignment]
