"""The commands behind FedLoGe's tables: equal trials for all methods, and what is chosen of them."""

from __future__ import annotations

import math

import pytest

from benchmarks.fedloge.evidence import METHODS, SETTINGS, TRIALS, best_place, jobs, trials

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_every_method_has_as_many_settings_and_every_one_is_a_run(setting: object) -> None:
    for name, method in METHODS.items():
        tried = trials(setting, method)  # type: ignore[arg-type]
        assert len(set(tried)) == TRIALS
        assert len({job.scenario.hash for job in jobs(setting, name, tried, [0])}) == TRIALS  # type: ignore[arg-type]


def test_the_smallest_rate_near_the_best_score_is_chosen() -> None:
    settings = [(0.01, None), (0.05, None), (0.1, None), (0.2, None)]
    assert best_place(settings, [0.50, 0.596, 0.597, 0.600]) == 1
    assert best_place(settings, [0.50, 0.590, math.nan, 0.600]) == 3
    assert best_place(settings, [math.nan, math.nan, 0.4, math.nan]) == 2
    # Of two values of a method's own parameter at one rate, the better one.
    assert best_place([(0.05, 1.0), (0.05, 2.0), (0.1, 1.0)], [0.597, 0.599, 0.600]) == 1
