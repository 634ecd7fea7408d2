"""The process grid: forked workers of this machine, for CPU runs that need no cluster. The quickest and the smallest.

A fork starts in milliseconds and shares with its parent what both only read: the interpreter, PyTorch, the data set.
Large arrays travel through memory-mapped files of a memory file system, everything else through pipes. A worker that
dies is replaced, and what it held is computed again: a message holds all that its answer follows from.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

import torch
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedlt.errors import FedLTError
from fedlt.process.gpus import hide_gpus
from fedlt.process.parent import end_with
from server.grids.deal import WorkQueues
from server.grids.local import ENOUGH, LocalGrid, cost_of, new_context
from server.grids.parcels import Parcels
from server.state.memory_folder import MemoryFolder

Setup = Callable[[], None]


class ProcessGrid(LocalGrid):
    """Messages are dealt to the workers by their cost.

    Attributes:
        setup: called once in every worker, before its first message.
    """

    eager = True
    moves = True

    def __init__(self, client_app: ClientApp, workers: int, setup: Setup) -> None:
        super().__init__(num_nodes=workers)
        self._folder = MemoryFolder()
        self._parcels = Parcels(self._folder.path)
        self._app, self._setup = client_app, setup
        self._workers: dict[Connection, ForkProcess] = {}
        self._replaced = 0
        gc.collect()  # what nobody can collect in a worker
        self._start(workers)

    def _start(self, workers: int) -> None:
        """Fork so many workers, which inherit the federation."""
        context = get_context("fork")
        frozen = gc.get_freeze_count()
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
        if not frozen:  # else somebody else has frozen what was there
            gc.unfreeze()

    @property
    def replaced(self) -> int:
        return self._replaced

    def _answer(self, messages: list[Message]) -> Iterator[Message]:
        """Deal the messages to the workers, and replace those that die."""
        waiting = WorkQueues(messages, [cost_of(message) for message in messages], len(self._workers))
        held: dict[Connection, deque[Message]] = {pipe: deque() for pipe in self._workers}
        losses: Counter[int] = Counter()  # by message

        def feed(pipe: Connection) -> None:
            message = waiting.take(pipe, len(held[pipe]))
            if message is None:
                return
            packed = self._parcels.pack(message)
            held[pipe].append(message)
            with suppress(OSError):  # it is dead, which is told where its answer is waited for
                pipe.send_bytes(packed)

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
        """A worker's answer. Raises `FedLTError` with its traceback where it failed."""
        answer = self._parcels.unpack(packed, keep=False)
        if isinstance(answer, str):
            raise FedLTError(f"a worker failed:\n\n{answer.rstrip()}")
        return answer  # type: ignore[no-any-return]

    def _replace(self, pipe: Connection) -> int | None:
        """Start another worker in the place of a dead one, whose exit code it returns."""
        process = self._end(pipe)
        self._parcels.clear_after(process.pid)
        self._start(1)
        self._replaced += 1
        return process.exitcode

    def _end(self, pipe: Connection) -> ForkProcess:
        """Kill a worker's process."""
        process = self._workers.pop(pipe)
        pipe.close()
        process.kill()
        process.join()
        return process

    def close(self) -> None:
        """End all workers, and delete the files of their messages."""
        for pipe in list(self._workers):
            self._end(pipe)
        self._folder.delete()


def available() -> bool:
    """Whether this system forks safely."""
    return sys.platform == "linux"


def _serve(app: ClientApp, setup: Setup, pipe: Connection, others: list[Connection], folder: MemoryFolder) -> None:
    """A worker's life: answer messages until the other end of the pipe is closed.

    Args:
        app: the ClientApp.
        setup: called once, before the first message.
        pipe: to the server.
        others: ends of other workers' pipes, which a fork inherits and closes.
        folder: of the files that hold large arrays.
    """
    for other in others:  # the parent's ends: held by this process too, they would outlive the parent
        other.close()
    hide_gpus()  # these workers are for the CPU
    torch.set_num_threads(1)  # OpenMP's threads stay behind in a fork: it would wait for them for ever
    end_with(os.getppid(), folder.delete)
    parcels = Parcels(folder.path)
    ready = False

    while True:
        try:
            content = pipe.recv_bytes()
        except EOFError:
            folder.delete()  # a parent that was killed could not
            return
        try:
            if not ready:
                setup()
                ready = True
            message = parcels.unpack(content, keep=True)
            answer = parcels.pack(app(message, new_context(message.metadata.dst_node_id, moved=True)))
        except Exception:
            answer = pickle.dumps(traceback.format_exc())
        pipe.send_bytes(answer)
