"""Groups of classes: bounds of the count rule, crossing classes of the mass rule."""

from __future__ import annotations

import numpy as np

from fedlt.data import groups


def test_by_count_includes_both_bounds_in_medium() -> None:
    counts = np.array([101, 100, 20, 19, 0])
    assert groups.by_count(counts).tolist() == [0, 1, 1, 2, 2]
    assert groups.by_count(counts, many=50, few=20).tolist() == [0, 0, 1, 2, 2]


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


COUNTS = np.array([120, 101, 60, 19, 8, 4])


def test_classes_without_a_test_sample_are_counted_by_group() -> None:
    assert groups.untested(COUNTS, np.array([9, 9, 9, 9, 0, 0])) == (0, 0, 2)
    assert groups.untested(COUNTS, np.array([0, 9, 0, 0, 0, 0])) == (1, 1, 3)
    assert groups.untested(COUNTS, np.ones(6, np.int64)) == (0, 0, 0)


def test_classes_without_a_test_sample_are_told_with_the_remedy() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    assert groups.untested_text(COUNTS, np.ones(6, np.int64), names) == ""
    said = groups.untested_text(COUNTS, np.array([9, 9, 9, 9, 0, 0]), names)
    assert said.startswith(
        "3 tail classes, 2 of them without a test sample (e, f): no figure counts them; move samples"
    )
    said = groups.untested_text(COUNTS, np.array([0, 9, 0, 0, 0, 0]), names, shown=2)
    assert said.startswith(
        "2 head classes, 1 of them without a test sample, 1 medium class, 1 of them without a test sample, "
        "3 tail classes, 3 of them without a test sample (a, c and 3 more): "
    )
