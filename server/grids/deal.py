"""Who computes which message: longest processing time first, then work stealing by whoever is idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class WorkQueues(Generic[T]):
    """A queue of items for each worker.

    Items are dealt by longest processing time first: the dearest first, each to the least loaded queue, so that workers
    of equal speed end at about the same time. A worker takes from its own queue and may hold its next item while it
    computes one. One that is done steals the cheapest item of the fullest queue from a straggler.

    Args:
        items: what is to be computed.
        costs: of each item, in any unit.
        workers: as many queues.
    """

    def __init__(self, items: Sequence[T], costs: Sequence[float], workers: int) -> None:
        self._costs = {id(item): cost for item, cost in zip(items, costs, strict=True)}
        self._queues: list[deque[T]] = [deque() for _ in range(workers)]
        self._owned: dict[Hashable, deque[T]] = {}  # the queue of each worker that has asked

        for item in sorted(items, key=lambda item: -self._costs[id(item)]):
            min(self._queues, key=self._load).append(item)

    def __len__(self) -> int:
        """Items that no worker holds."""
        return sum(map(len, self._queues))

    def take(self, worker: Hashable, held: int) -> T | None:
        """The next item for a worker, which leaves its queue.

        A worker holds two items at most: the one that it computes and the next. The last item of a queue is taken only
        by who is idle, since another worker may have time for it sooner.

        Args:
            held: items that the worker holds already.

        Returns:
            None if it should wait.
        """
        queue = self._queue(worker)
        if held < min(len(queue), 2):
            return queue.popleft()
        if held or not len(self):
            return None
        return max(self._queues, key=self._load).pop()

    def lose(self, worker: Hashable, items: Iterable[T]) -> None:
        """A worker is gone: what it held goes to the front of its queue, which is then free for another worker."""
        queue = self._owned.pop(worker, None)
        if queue is None:
            queue = max(self._queues, key=self._load)
        queue.extendleft(reversed(list(items)))

    def _queue(self, worker: Hashable) -> deque[T]:
        """The worker's queue: at first the fullest that is free, or else a new, empty one."""
        if worker not in self._owned:
            owned = [id(queue) for queue in self._owned.values()]
            free = [queue for queue in self._queues if id(queue) not in owned]
            if not free:
                free = [deque()]
                self._queues += free  # among the others: what this worker loses must be found again
            self._owned[worker] = max(free, key=self._load)
        return self._owned[worker]

    def _load(self, queue: deque[T]) -> float:
        return sum(self._costs[id(item)] for item in queue)
