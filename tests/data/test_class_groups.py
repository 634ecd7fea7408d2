"""Groups of classes: bounds of the count rule, crossing classes of the mass rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlt
from fedlt.comparing.compare import compare
from fedlt.data import groups
from fedlt.errors import ScenarioError
from fedlt.results.summary import final_table, plain
from fedlt.training.sameness import training_hash


def test_by_count_includes_both_bounds_in_medium() -> None:
    counts = np.array([101, 100, 20, 19, 0])
    assert groups.by_count(counts).tolist() == [0, 1, 1, 2, 2]
    assert groups.by_count(counts, many=50, few=20).tolist() == [0, 0, 1, 2, 2]


def test_by_rank_takes_shares_of_the_classes() -> None:
    """The numbers of LongTailLib: 5, 3 and 2 of ten classes, 50, 30 and 20 of a hundred, the higher of equals first."""
    falling = np.arange(100, 0, -10)
    assert groups.by_rank(falling).tolist() == [0] * 5 + [1] * 3 + [2] * 2
    assert groups.sizes(groups.by_rank(np.arange(100))) == (50, 30, 20)
    assert groups.by_rank(np.full(5, 7)).tolist() == [2, 1, 1, 0, 0]
    assert groups.by_rank(np.array([3, 9, 9, 1])).tolist() == [1, 0, 0, 2]


def test_by_rank_rounds_shares_down_and_keeps_one_head_class() -> None:
    assert groups.sizes(groups.by_rank(np.arange(7))) == (3, 2, 2)
    assert groups.sizes(groups.by_rank(np.arange(100), head=0.57, medium=0.57)) == (57, 0, 43)
    assert groups.by_rank(np.array([4])).tolist() == [0]


def test_by_mass_gives_the_crossing_class_to_the_larger_group() -> None:
    # Of 100: 60, then 60 + 20 = 80 crosses 75; 90 and then 96 crosses 95; the rest is few.
    assert groups.by_mass(np.array([60, 20, 10, 6, 4])).tolist() == [0, 0, 1, 1, 2]


def test_by_mass_ends_a_group_that_meets_its_bound_exactly() -> None:
    assert groups.by_mass(np.array([75, 20, 5])).tolist() == [0, 1, 2]


def test_by_mass_sorts_classes_and_keeps_class_order_among_equals() -> None:
    assert groups.by_mass(np.array([1, 4, 20, 75])).tolist() == [2, 2, 1, 0]
    assert groups.by_mass(np.array([25, 25, 25, 25])).tolist() == [0, 0, 0, 1]


def test_by_mass_calls_a_class_without_samples_few() -> None:
    assert groups.by_mass(np.array([0, 10, 0])).tolist() == [2, 0, 2]
    assert groups.by_mass(np.array([0, 0])).tolist() == [2, 2]


def test_sizes_counts_every_group() -> None:
    assert groups.sizes(np.array([0, 2, 2, 1, 2], np.int8)) == (1, 1, 3)
    assert groups.sizes(np.array([0, 0], np.int8)) == (2, 0, 0)


GROUPS = np.array([0, 0, 1, 2, 2, 2], np.int8)


def test_classes_without_a_test_sample_are_counted_by_group() -> None:
    assert groups.untested(GROUPS, np.array([9, 9, 9, 9, 0, 0])) == (0, 0, 2)
    assert groups.untested(GROUPS, np.array([0, 9, 0, 0, 0, 0])) == (1, 1, 3)
    assert groups.untested(GROUPS, np.ones(6, np.int64)) == (0, 0, 0)


def test_classes_without_a_test_sample_are_told_with_the_remedy() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    assert groups.untested_text(GROUPS, np.ones(6, np.int64), names) == ""
    said = groups.untested_text(GROUPS, np.array([9, 9, 9, 9, 0, 0]), names)
    assert said.startswith(
        "3 tail classes, 2 of them without a test sample (e, f): no figure counts them; move samples"
    )
    said = groups.untested_text(GROUPS, np.array([0, 9, 0, 0, 0, 0]), names, shown=2)
    assert said.startswith(
        "2 head classes, 1 of them without a test sample, 1 medium class, 1 of them without a test sample, "
        "3 tail classes, 3 of them without a test sample (a, c and 3 more): "
    )


def test_groups_change_the_figures_and_no_model(tiny: dict[str, Any], tmp_path: Path) -> None:
    ranked = fedlt.run(tiny, "evaluation.groups=rank", out=tmp_path, backend="inline")
    classes = ranked.classes.query("round == 2 and model == 'generic'").set_index("class")
    largest = classes.train_count.sort_values(ascending=False, kind="stable").index[:5]
    assert ranked.final["generic/many"] == pytest.approx(classes.recall[largest].mean())
    assert ranked.summary["groups_count"] == [5, 3, 2]
    assert classes.group_count.value_counts().to_dict() == {"many": 5, "medium": 3, "few": 2}
    told = plain(final_table(ranked))
    assert "5 head classes (the largest 0.5 of all), 3 medium (up to 0.8), 2 tail (the rest)" in told

    counted = fedlt.run(tiny, "evaluation.groups.many=30", out=tmp_path, backend="inline")
    assert counted.summary["model_hash"] == ranked.summary["model_hash"]
    assert counted.summary["groups_count"] != ranked.summary["groups_count"]
    with pytest.raises(ScenarioError, match=r"evaluation\.groups\.by"):
        compare(counted, ranked)

    plainly, by_rank = (fedlt.load_scenario(tiny, *words) for words in ([], ["evaluation.groups=rank"]))
    assert len({training_hash(one, one.strategy.create(), one.learner.create()) for one in (plainly, by_rank)}) == 1
    assert plainly.hash != by_rank.hash


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluation.groups=ranks"], "evaluation.groups.by: expected one of count, rank"),
        (["evaluation.groups.head=0.3"], "evaluation.groups.head: is a bound of groups.by=rank"),
        (["evaluation.groups=rank", "evaluation.groups.few=5"], "evaluation.groups.few: is a bound of groups.by=count"),
        (["evaluation.groups.few=200"], "evaluation.groups.few: .* take 100 at most"),
        (["evaluation.groups=rank", "evaluation.groups.head=0.9"], "evaluation.groups.medium: .* take 0.9 at least"),
    ],
)
def test_bounds_that_mean_nothing_are_refused(tiny: dict[str, Any], words: list[str], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        fedlt.load_scenario(tiny, *words)
