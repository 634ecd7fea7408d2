"""Who computes which message: dealt beforehand by cost, and given up to whoever is idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Deal(Generic[T]):
    """Deals items to `hands` workers, the dearest first and each to the least loaded hand.

    A worker plays a hand of its own, so it can hold its next item while it computes one, and all end at about the same
    time if they are equally quick. If they are not, one that is done takes the cheapest item of the fullest hand.
    """

    def __init__(self, items: Sequence[T], costs: Sequence[float], hands: int) -> None:
        self._costs = {id(item): cost for item, cost in zip(items, costs, strict=True)}
        self._hands: list[deque[T]] = [deque() for _ in range(hands)]
        self._players: dict[Hashable, deque[T]] = {}
        for item in sorted(items, key=lambda item: -self._costs[id(item)]):
            min(self._hands, key=self._load).append(item)

    def __len__(self) -> int:
        """Items that no worker holds."""
        return sum(map(len, self._hands))

    def take(self, worker: Hashable, held: int) -> T | None:
        """The next item for a worker that holds `held` items, None if it should wait: one is computed and one is in
        hand, the last item of a hand excepted, which somebody else may have time for."""
        hand = self._hand(worker)
        if held < min(len(hand), 2):
            return hand.popleft()
        if held or not len(self):
            return None
        return max(self._hands, key=self._load).pop()

    def lose(self, worker: Hashable, items: Iterable[T]) -> None:
        """A worker is gone: what it held is the first of its hand, which another may play."""
        hand = self._players.pop(worker, None)
        if hand is None:
            hand = max(self._hands, key=self._load)
        hand.extendleft(reversed(list(items)))

    def _hand(self, worker: Hashable) -> deque[T]:
        """The worker's hand: the fullest that nobody plays, or else a new one without cards."""
        if worker not in self._players:
            played = [id(hand) for hand in self._players.values()]
            free = [hand for hand in self._hands if id(hand) not in played]
            if not free:
                free = [deque()]
                self._hands += free  # among the others: what this worker loses must be found again
            self._players[worker] = max(free, key=self._load)
        return self._players[worker]

    def _load(self, hand: deque[T]) -> float:
        return sum(self._costs[id(item)] for item in hand)
