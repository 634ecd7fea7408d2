"""What is promised of a thousand characters, on tables made by hand; and traffic on paper."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.centralized import megahan


def holds(**changes: float) -> list[bool]:
    row = {"means_few": 90.0, "linear_few": 80.0, "unseen": 6.0, "unseen_mixed": 0.5} | changes
    return [check.holds for check in megahan.checks(pd.DataFrame([row, row]))]


def test_each_promise_can_fail() -> None:
    """Chance is half a percent, of 200 candidates."""
    assert holds() == [True, True, True]
    assert holds(means_few=79.0) == [False, True, True]
    assert holds(unseen=4.9) == [True, False, True]
    assert holds(unseen_mixed=1.1) == [True, True, False]


def test_traffic_of_more_classes_lies_on_the_line_through_two_sizes() -> None:
    held = [{"classes": "1000", "mb_up": "0.5"}, {"classes": "2000", "mb_up": "0.8"}]
    assert megahan._on_paper(held, "mb_up") == pytest.approx(0.2 + 0.3 * 97.455)
