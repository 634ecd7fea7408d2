"""The process grid: forked workers of this machine, for CPU runs that need no cluster. The quickest and the smallest.

A fork starts in milliseconds and shares with its parent what both only read: the interpreter, PyTorch, the data set.
Large arrays travel through memory-mapped files of a memory file system, everything else through pipes. A worker that
dies is replaced, and what it held is computed again: a message holds all that its answer follows from.
"""

from __future__ import annotations

import gc
import io
import mmap
import os
import pickle
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedlt.errors import FedLTError
from server.deal import Deal
from server.grids import ENOUGH, LocalGrid, cost_of, new_context

LARGE = 2**15  # bytes; what is smaller is quicker through the pipe, which takes several times as much unread
MEMORY = Path("/dev/shm")  # a file system in memory, where there is one

Setup = Callable[[], None]


class ProcessGrid(LocalGrid):
    """Messages are dealt to the workers by their cost.

    setup: called once in every worker, before its first message.
    """

    eager = True
    moves = True

    def __init__(self, client_app: ClientApp, workers: int, setup: Setup) -> None:
        super().__init__(num_nodes=workers)
        self._folder = Path(tempfile.mkdtemp(prefix="fedlt-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self._parcels = _Parcels(self._folder)
        self._app, self._setup = client_app, setup
        self._workers: dict[Connection, ForkProcess] = {}
        self._replaced = 0
        self._start(workers)

    def _start(self, workers: int) -> None:
        context = get_context("fork")
        gc.collect()
        gc.freeze()  # a collection in a worker would write to the pages of everything it inherits, and so copy them
        for _ in range(workers):
            here, there = context.Pipe()
            arguments = (self._app, self._setup, there, [here, *self._workers], self._folder)
            process = context.Process(target=_serve, args=arguments, name="fedlt worker", daemon=True)
            with warnings.catch_warnings():  # threads of others may exist; workers use none of their locks
                warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
                process.start()
            there.close()
            self._workers[here] = process
        gc.unfreeze()

    @property
    def replaced(self) -> int:
        return self._replaced

    def _answer(self, messages: list[Message]) -> Iterator[Message]:
        waiting = Deal(messages, [cost_of(message) for message in messages], len(self._workers))
        held: dict[Connection, deque[Message]] = {pipe: deque() for pipe in self._workers}
        losses: Counter[int] = Counter()  # by message

        def feed(pipe: Connection) -> None:
            message = waiting.take(pipe, len(held[pipe]))
            if message is None:
                return
            held[pipe].append(message)
            with suppress(OSError):  # it is dead, which is told where its answer is waited for
                pipe.send_bytes(self._parcels.pack(message))

        def lose(pipe: Connection) -> None:
            """Replace a dead worker; what it held is the next to be computed."""
            lost = held.pop(pipe)
            losses[id(lost[0])] += 1
            exit_code = self._replace(pipe)
            if losses[id(lost[0])] == ENOUGH:
                raise FedLTError(
                    f"workers die over the same clients again and again (exit code {exit_code}; -9 is a kill, often "
                    "for want of memory: take fewer workers (resources.workers), or a smaller local.batch_size)"
                )
            waiting.lose(pipe, lost)
            held.update((other, deque()) for other in self._workers if other not in held)

        with self._parcels.shared():
            while len(waiting) or any(held.values()):
                for _ in range(2):  # the first for everybody before the second for anybody
                    for pipe in self._workers:
                        feed(pipe)
                ready = wait([pipe for pipe in held if held[pipe]])
                for pipe in [pipe for pipe in held if pipe in ready]:
                    try:
                        packed = pipe.recv_bytes()
                    except (EOFError, OSError):
                        lose(pipe)
                        continue
                    held[pipe].popleft()
                    feed(pipe)  # before its answer is read: it need not wait
                    yield self._read(packed)

    def _read(self, packed: bytes) -> Message:
        answer = self._parcels.unpack(packed, keep=False)
        if isinstance(answer, str):
            raise FedLTError(f"a worker failed:\n\n{answer.rstrip()}")
        return answer  # type: ignore[no-any-return]

    def _replace(self, pipe: Connection) -> int | None:
        """Start another worker in the place of a dead one, whose exit code it returns."""
        process = self._end(pipe)
        for path in self._folder.glob(f"{process.pid}-*"):  # of an answer that was not finished
            path.unlink()
        self._start(1)
        self._replaced += 1
        return process.exitcode

    def _end(self, pipe: Connection) -> ForkProcess:
        process = self._workers.pop(pipe)
        pipe.close()
        process.kill()
        process.join()
        return process

    def close(self) -> None:
        for pipe in list(self._workers):
            self._end(pipe)
        shutil.rmtree(self._folder, ignore_errors=True)


def available() -> bool:
    """Whether this system forks safely."""
    return sys.platform == "linux"


def _serve(app: ClientApp, setup: Setup, pipe: Connection, others: list[Connection], folder: Path) -> None:
    """A worker's life: answer messages until the other end of the pipe is closed."""
    for other in others:  # the parent's ends: held by this process too, they would outlive the parent
        other.close()
    torch.set_num_threads(1)  # OpenMP's threads stay behind in a fork: it would wait for them for ever
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a worker that replaces another would inherit the run's handler
    parcels = _Parcels(folder)
    ready = False
    while True:
        try:
            content = pipe.recv_bytes()
        except EOFError:
            shutil.rmtree(folder, ignore_errors=True)  # a parent that was killed could not
            return
        try:
            if not ready:
                setup()
                ready = True
            message = parcels.unpack(content, keep=True)
            answer: Message | str = app(message, new_context(message.metadata.dst_node_id, moved=True))
        except Exception:
            answer = traceback.format_exc()
        pipe.send_bytes(parcels.pack(answer))


class _Parcels:
    """Pickles objects; byte strings from `LARGE` on, NumPy's uint8 as well, become files in `folder`, which the other
    side maps and deletes."""

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
        before anybody reads."""
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
        """keep: leave the files to the other side, and use a file's memory again where the next object names it."""
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
            for name in used:
                (self.folder / name).unlink()
        return content

    def _write(self, content: Any) -> str | None:
        if not _is_bytes(content) or len(content) < LARGE:
            return None
        if self._shared is not None and id(content) in self._shared:
            return self._shared[id(content)]
        name = self._write_file(content)
        if self._shared is not None:
            self._shared[id(content)] = name
        return name

    def _write_file(self, content: Any) -> str:
        self._count += 1
        name = f"{os.getpid()}-{self._count}"
        (self.folder / name).write_bytes(content)
        return name


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
    with path.open("rb") as file:  # a private mapping: nobody else sees what is written to it
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
