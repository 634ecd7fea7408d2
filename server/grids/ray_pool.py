"""Ray workers that are replaced when they are lost, killed or gone with their node; what they were doing is done again.

A message holds all that its answer follows from, so that the second answer is the first one's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from flwr.app import Message

from fedlt.errors import FedLTError
from server.grids.deal import WorkQueues
from server.grids.local import ENOUGH, cost_of
from server.grids.ray_transport import Call

LOST = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError, ray.exceptions.OutOfMemoryError)
"""A worker has ended, or its answer was lost with its node before it got here."""

START_SECONDS = 300.0  # in which one worker must have started, where there is none at all


@dataclass
class _Task:
    message: Message
    losses: int = 0


class Pool:
    """Workers that answer messages, and are replaced where they are lost.

    Args:
        start: starts a worker, a Ray actor with the methods `install`, which returns its process id, and `answer`.

    Attributes:
        replaced: how many workers were replaced.
        lost: the process ids of those of them that had started.
    """

    def __init__(self, start: Callable[[], Any], count: int) -> None:
        self._start = start
        self.workers = [start() for _ in range(count)]
        self._setup: tuple[Any, ...] = ()
        self._starting: dict[Any, Any] = {}  # worker by the reference to the end of its installation
        self._held: dict[Any, int] = {}  # messages that each worker has, of those that have started
        self._pids: dict[Any, int] = {}
        self._false_starts = 0
        self.replaced = 0
        self.lost: list[int] = []

    def install(self, *setup: Any) -> None:
        """Call `install` in every worker, and in those that will replace one."""
        self._setup, self._held = setup, {}
        self._starting = {worker.install.remote(*setup): worker for worker in self.workers}

    def answer(self, messages: Sequence[Message], call: Call) -> Iterator[Any]:
        """The workers' answers, in any order.

        Args:
            call: what `answer` is called with for a message.
        """
        costs = [cost_of(message) for message in messages]
        waiting = WorkQueues([_Task(message) for message in messages], costs, len(self.workers))
        running: dict[Any, tuple[Any, _Task]] = {}

        while waiting or running:
            self._feed(waiting, running, call)

            # The next worker that has started, or has answered.
            done, _ = ray.wait([*running, *self._starting], num_returns=1, timeout=None if running else START_SECONDS)
            if not done:
                raise FedLTError(f"no Ray worker has started within {START_SECONDS:.0f} s; `ray status` tells why")
            if done[0] in self._starting:
                self._started(done[0])
                continue

            # A worker that is lost gives its message back, and is replaced.
            worker, task = running.pop(done[0])
            try:
                answer = ray.get(done[0])
            except LOST as error:
                self._replace(worker)
                waiting.lose(worker, [task])
                task.losses += 1
                if task.losses == ENOUGH:
                    raise FedLTError(f"workers end over the same clients again and again. {_advice(error)}") from None
                continue

            if worker in self._held:
                self._held[worker] -= 1
            self._feed(waiting, running, call)
            yield answer

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            _end(worker)
        self.workers, self._held, self._starting, self._pids = [], {}, {}, {}

    def _feed(self, waiting: WorkQueues[_Task], running: dict[Any, tuple[Any, _Task]], call: Call) -> None:
        """Give every worker that has started what it may hold.

        Args:
            waiting: messages that no worker holds.
            running: worker and message by the reference to the answer; added to.
            call: what a worker is called with.
        """
        for _ in range(2):  # the first for everybody before the second for anybody
            for worker, held in self._held.items():
                task = waiting.take(worker, held)
                if task is not None:
                    running[worker.answer.remote(*call(task.message))] = worker, task
                    self._held[worker] += 1

    def _started(self, reference: Any) -> None:
        """Note that a worker has started, or replace it where it ended before.

        Args:
            reference: to the end of its installation.
        """
        worker = self._starting.pop(reference)
        try:
            self._pids[worker] = ray.get(reference)  # raises what went wrong in the installation itself
        except LOST as error:
            self._false_starts += 1
            if self._false_starts == ENOUGH:
                raise FedLTError(f"workers end while they start. {_advice(error)}") from None
            self._replace(worker)
        else:
            self._false_starts = 0
            self._held[worker] = 0

    def _replace(self, worker: Any) -> None:
        """Start another worker in the place of one that is lost."""
        if worker not in self.workers:  # it had another call
            return
        self._held.pop(worker, None)
        if worker in self._pids:
            self.lost.append(self._pids.pop(worker))
        with suppress(ValueError, ray.exceptions.RayError):  # it may live: only its answer was lost
            _end(worker)
        other = self._start()
        self.workers[self.workers.index(worker)] = other
        self._starting[other.install.remote(*self._setup)] = other
        self.replaced += 1


def _end(worker: Any) -> None:
    """End a worker.

    Ray numbers actors and objects anew in every session: a handle that Python collects in the next session would end
    the worker of the same number there. A weak handle ends nothing.
    """
    ray.kill(worker)
    worker._ray_weak_ref = True


def _advice(error: BaseException) -> str:
    """What to do, and Ray's own words in one line."""
    said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return (
        "If memory ran out, take fewer workers (resources.workers), or a smaller local.batch_size or "
        f"evaluation.batch_size. Ray says: {said.strip()}"
    )
