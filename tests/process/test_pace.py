"""The time that a run still takes, when a line about it is due, and numbers in words."""

from __future__ import annotations

import pytest

from fedlt.process import pace
from fedlt.process.pace import Cadence, Pace
from fedlt.process.wording import clock, counted, duration, memory


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock_at(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_time_left_is_known_after_the_first_round_however_long_it_took(clock_at: Clock) -> None:
    known = Pace(total=5, every=10)
    clock_at.pass_by(100)
    assert known.left() is None
    known.round(1)
    assert known.left() == 400  # four rounds of 100 s
    clock_at.pass_by(30)
    assert known.left() == 370  # it counts down within a round
    clock_at.pass_by(500)
    assert known.left() == 0


def test_the_first_round_no_longer_counts_when_a_second_is_known(clock_at: Clock) -> None:
    known = Pace(total=10, every=20)
    for number, seconds in enumerate((50, 10, 20), 1):
        clock_at.pass_by(seconds)
        known.round(number)
        assert known.settled == (number > 1 or seconds >= 30)
    assert known.seconds == 15
    assert known.left() == 7 * 15


def test_evaluations_count_apart_from_rounds(clock_at: Clock) -> None:
    known = Pace(total=6, every=2)
    for number in (1, 2):
        clock_at.pass_by(10)
        known.round(number, evaluating=0.001)  # what it takes to see that nothing is to be tested
    assert known.evaluation is None
    assert known.left() == 40

    clock_at.pass_by(10 + 4)  # the third round, and the evaluation after the second in the same exchange
    known.evaluated()
    assert known.evaluation == 4
    known.round(3, evaluating=5)
    assert known.evaluation == 5
    assert known.seconds == pytest.approx((10 + 9) / 2)
    assert known.left() == pytest.approx(3 * 9.5 + 2 * 5)  # after round 4, and after the last one


def test_a_run_that_goes_on_counts_its_own_rounds_alone(clock_at: Clock) -> None:
    known = Pace(total=12, every=5, done=10)
    clock_at.pass_by(7)
    known.round(11)
    assert known.left() == 7


def test_lines_in_a_pipe_become_rarer(clock_at: Clock) -> None:
    cadence, told = Cadence(first=2), []
    for second in range(1, 36_001):  # ten hours
        clock_at.pass_by(1)
        if cadence.due():
            cadence.said()
            told.append(second)
    assert told[:4] == [2, 62, 122, 182]
    assert told[-1] - told[-2] > 1500
    assert len(told) < 100


def test_numbers_in_words() -> None:
    assert (counted(1, "round"), counted(0, "round"), counted(1497, "class", "classes")) == (
        "1 round",
        "0 rounds",
        "1,497 classes",
    )
    spans = {
        0.034: "0.034 s", 1.0: "1.0 s", 9.96: "10 s", 45: "45 s", 99.6: "2 min", 720: "12 min", 12_000: "3 h 20 min",
        40_000: "11 h", 187_200: "2 d 4 h",
    }  # fmt: skip
    assert {seconds: duration(seconds) for seconds in spans} == spans
    assert (clock(187), clock(7500), clock(0.4)) == ("3:07", "2:05:00", "0:00")
    assert (memory(340e6), memory(2.14e9), memory(3)) == ("340 MB", "2.1 GB", "1 MB")
