"""Equal trials for all methods, and what is chosen of them: FedLoGe's tables, and those of all strategies."""

from __future__ import annotations

import math

import pytest

from benchmarks.fedloge import evidence
from benchmarks.strategies import study
from benchmarks.strategies.settings import CHOOSING, COUNTING, LABELLED
from benchmarks.text import study as texts
from benchmarks.trials import Setting, Study, best_place
from fedlt.config import catalog

pytestmark = pytest.mark.slow
ALL = [(source.STUDY, setting) for source in (evidence, study, texts) for setting in source.SETTINGS.values()]


@pytest.mark.parametrize(("one", "setting"), ALL, ids=[f"{one.home.name}-{each.scenario}" for one, each in ALL])
def test_every_method_has_as_many_settings_and_every_one_is_a_run(one: Study, setting: Setting) -> None:
    for name, method in one.methods.items():
        tried = one.trials(setting, method)
        assert len(set(tried)) == len(setting.rates)
        assert len({job.scenario.hash for job in one.jobs(setting, name, tried, [0])}) == len(setting.rates)


def test_every_strategy_is_in_the_study_and_its_own_key_is_tried_at_its_default() -> None:
    assert set(catalog.names("strategy")) - {*CHOOSING, *COUNTING, *LABELLED} <= set(study.METHODS)
    for name, method in study.METHODS.items():
        if method.own and not name.startswith("flower:") and name != "feddyn":  # its default depends on the run
            fields = {field.name: field.default for field in catalog.find("strategy", name).fields}
            assert method.values[0] == fields[method.own], name


def test_the_smallest_rate_near_the_best_score_is_chosen() -> None:
    settings = [(0.01, None), (0.05, None), (0.1, None), (0.2, None)]
    assert best_place(settings, [0.50, 0.596, 0.597, 0.600]) == 1
    assert best_place(settings, [0.50, 0.590, math.nan, 0.600]) == 3
    assert best_place(settings, [math.nan, math.nan, 0.4, math.nan]) == 2
    # Of two values of a method's own parameter at one rate, the better one.
    assert best_place([(0.05, 1.0), (0.05, 2.0), (0.1, 1.0)], [0.597, 0.599, 0.600]) == 1
