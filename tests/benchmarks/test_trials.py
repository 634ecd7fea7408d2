"""Equal trials for all methods, and what is chosen of them: FedLoGe's tables, and those of all strategies."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.fedloge import evidence
from benchmarks.strategies import study
from benchmarks.strategies.settings import CHOOSING, COUNTING, LABELLED
from benchmarks.text import study as texts
from benchmarks.trials import Method, Setting, Study, best_place
from fedlt.config import catalog

pytestmark = pytest.mark.slow
ALL = [(source.STUDY, setting) for source in (evidence, study, texts) for setting in source.SETTINGS.values()]


@pytest.mark.parametrize(("one", "setting"), ALL, ids=[f"{one.home.name}-{each.scenario}" for one, each in ALL])
def test_every_method_has_as_many_settings_and_every_one_is_a_run(one: Study, setting: Setting) -> None:
    for name, method in one.methods.items():
        tried = one.trials(setting, method)
        assert len(set(tried)) == len(setting.rates)
        assert len({job.scenario.hash for job in one.jobs(setting, name, tried, [0])}) == len(setting.rates)


def test_a_method_that_ends_at_chance_gets_the_smallest_rates() -> None:
    one = Study(Path(), {name: Method(name, own="mu", values=(1.0, 5.0)) for name in ("moon", "fedprox")}, {})
    setting = Setting("s", (0.01, 0.03, 0.1, 0.3), narrow=(1, 2), smaller=("moon",))
    rates = {name: sorted({rate for rate, _ in one.trials(setting, method)}) for name, method in one.methods.items()}
    assert rates == {"moon": [0.01, 0.03], "fedprox": [0.03, 0.1]}


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


def test_a_setting_that_diverges_gives_way_to_the_next_smaller_rate(tmp_path: Path) -> None:
    """0.1 was tried with the same own value, 0.05 was not; below it there is nothing."""
    one = Study(tmp_path, {"moon": Method("moon", own="mu", values=(1.0, 5.0))}, {"s": Setting("s", (0.05, 0.1, 0.2))})
    figures = dict.fromkeys(("validation/generic/accuracy", "validation/personal_masked/accuracy"), "0.5")
    tried = [(rate, f"mu={own}") for rate in ("0.1", "0.2") for own in (1, 5)]
    lines = [{"setting": "s", "method": "moon", "lr": lr, "own": own} | figures | {"chosen": ""} for lr, own in tried]
    lines[2]["chosen"] = "yes"
    one.write(lines)
    assert one.chosen("s", "moon") == (0.2, 1.0)

    assert one.lower("s", "moon")
    assert one.chosen("s", "moon") == (0.1, 1.0)
    assert one.lower("s", "moon")
    assert one.chosen("s", "moon") == (0.05, 1.0)
    assert not one.lower("s", "moon")
    chosen = {(line["lr"], line["own"]): line["chosen"] for line in one.tuned() if line["chosen"]}
    assert chosen == {("0.2", "mu=1"): "diverged", ("0.1", "mu=1"): "diverged", ("0.05", "mu=1"): "yes"}
