"""The queues of a round's messages: balanced beforehand, corrected by whoever is idle, complete whoever is lost."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from server.grids.deal import WorkQueues

COSTS = [509, 389, 318, 276, 226, 222, 199, 182, 165, 134]


def ends_of(costs: list[int], pace: Mapping[str, float]) -> dict[str, float]:
    """When each worker ends that computes a cost of one in `pace` seconds and is given the next item in time."""
    queues = WorkQueues(items := [[cost] for cost in costs], costs, len(pace))
    ends = dict.fromkeys(pace, 0.0)
    holding: dict[str, list[list[int]]] = {worker: [] for worker in pace}
    done = 0
    while done < len(items):
        for _ in range(2):
            for worker, items_held in holding.items():
                if (item := queues.take(worker, len(items_held))) is not None:
                    items_held.append(item)
        busy = min((worker for worker in pace if holding[worker]), key=lambda w: ends[w] + pace[w] * holding[w][0][0])
        ends[busy] += pace[busy] * holding[busy].pop(0)[0]
        done += 1
        for worker in pace:  # who had nothing to do has waited
            if not holding[worker]:
                ends[worker] = max(ends[worker], ends[busy])
    return ends


def test_workers_of_equal_speed_end_together() -> None:
    ends = ends_of(COSTS, {"a": 1.0, "b": 1.0})
    assert abs(ends["a"] - ends["b"]) <= 0.02 * sum(COSTS) / 2


def test_a_slow_worker_is_relieved() -> None:
    """At a third of the other's speed it would take 3930 for its half."""
    assert max(ends_of(COSTS, {"a": 3.0, "b": 1.0}).values()) < 2500


def test_a_worker_holds_one_item_ahead_but_never_the_last_of_its_queue() -> None:
    queues = WorkQueues([[cost] for cost in (4, 3, 2, 1)], [4, 3, 2, 1], 2)
    assert queues.take("a", 0) == [4]
    assert queues.take("a", 1) is None  # only [1] is left in its queue
    assert queues.take("b", 0) == [3]
    assert queues.take("b", 0) == [2]
    assert queues.take("b", 0) == [1]  # the other's
    assert queues.take("b", 0) is None
    assert len(queues) == 0


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_nothing_is_lost_with_a_worker_nor_done_twice(workers: int) -> None:
    queues = WorkQueues(items := [[number] for number in range(7)], [1.0] * 7, workers)
    held = [queues.take("mortal", 0), queues.take("mortal", 1)]
    queues.lose("mortal", [item for item in held if item is not None])
    taken = []
    while (item := queues.take("heir", 0)) is not None:
        taken.append(item)
    assert sorted(taken) == items


def test_more_workers_than_queues_take_from_the_others() -> None:
    queues = WorkQueues([[1], [2]], [1, 2], 1)
    assert queues.take("a", 0) == [2]
    taken = queues.take("late", 0)
    assert taken == [1]
    queues.lose("late", [taken])
    assert queues.take("a", 0) == [1]
