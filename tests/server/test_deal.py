"""The deal of a round's messages: balanced beforehand, corrected by whoever is idle, complete whoever is lost."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from server.grids.deal import Deal

COSTS = [509, 389, 318, 276, 226, 222, 199, 182, 165, 134]


def play(costs: list[int], pace: Mapping[str, float]) -> dict[str, float]:
    """When each worker ends that computes a cost of one in `pace` seconds and is given the next item in time."""
    deal = Deal(items := [[cost] for cost in costs], costs, len(pace))
    ends = dict.fromkeys(pace, 0.0)
    hands: dict[str, list[list[int]]] = {worker: [] for worker in pace}
    done = 0
    while done < len(items):
        for _ in range(2):
            for worker, hand in hands.items():
                if (item := deal.take(worker, len(hand))) is not None:
                    hand.append(item)
        busy = min((worker for worker in pace if hands[worker]), key=lambda w: ends[w] + pace[w] * hands[w][0][0])
        ends[busy] += pace[busy] * hands[busy].pop(0)[0]
        done += 1
        for worker in pace:  # who had nothing to do has waited
            if not hands[worker]:
                ends[worker] = max(ends[worker], ends[busy])
    return ends


def test_workers_of_equal_speed_end_together() -> None:
    ends = play(COSTS, {"a": 1.0, "b": 1.0})
    assert abs(ends["a"] - ends["b"]) <= 0.02 * sum(COSTS) / 2


def test_a_slow_worker_is_relieved() -> None:
    """At a third of the other's speed it would take 3930 for its half."""
    assert max(play(COSTS, {"a": 3.0, "b": 1.0}).values()) < 2500


def test_a_worker_holds_one_item_ahead_but_never_the_last_of_its_hand() -> None:
    deal = Deal([[cost] for cost in (4, 3, 2, 1)], [4, 3, 2, 1], 2)
    assert deal.take("a", 0) == [4]
    assert deal.take("a", 1) is None  # only [1] is left in its hand
    assert deal.take("b", 0) == [3]
    assert deal.take("b", 0) == [2]
    assert deal.take("b", 0) == [1]  # the other's
    assert deal.take("b", 0) is None
    assert len(deal) == 0


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_nothing_is_lost_with_a_worker_nor_done_twice(workers: int) -> None:
    deal = Deal(items := [[number] for number in range(7)], [1.0] * 7, workers)
    held = [deal.take("mortal", 0), deal.take("mortal", 1)]
    deal.lose("mortal", [item for item in held if item is not None])
    taken = []
    while (item := deal.take("heir", 0)) is not None:
        taken.append(item)
    assert sorted(taken) == items


def test_more_workers_than_hands_take_from_the_others() -> None:
    deal = Deal([[1], [2]], [1, 2], 1)
    assert deal.take("a", 0) == [2]
    taken = deal.take("late", 0)
    assert taken == [1]
    deal.lose("late", [taken])
    assert deal.take("a", 0) == [1]
