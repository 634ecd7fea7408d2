"""Classes that nobody has seen, told by the codes of those that were."""

from __future__ import annotations

import numpy as np
import pytest

from fedlt.heads.component_codes import ComponentCodes

CODES = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]]) / np.sqrt(2)
SIDES = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # of each class: two features, a part each


def test_a_class_is_told_by_the_parts_of_others() -> None:
    """The fourth class has the second part of the first side and of the second: both were seen, never together."""
    head = ComponentCodes(1e-9).fit(SIDES[[0, 0, 1, 2]], np.array([0, 0, 1, 2]), CODES)
    np.testing.assert_allclose(head.scores(SIDES[3:], CODES[3:]), 1.0, atol=1e-6)
    assert head.predict(SIDES, CODES).tolist() == [0, 1, 2, 3]
    assert head.predict(SIDES[3:], CODES[[1, 3, 2]]).tolist() == [1]


def test_the_map_is_that_of_least_squares_with_classes_of_equal_weight() -> None:
    """Two classes at -1 and 3, of 3 samples and 1: means weighted by class lie at 1, where the centre of codes is."""
    x, y = np.array([[-1.0], [-1.0], [-1.0], [3.0]]), np.array([0, 0, 0, 1])
    codes = np.array([[1.0, 0.0], [0.0, 1.0]])
    alpha = 0.5
    head = ComponentCodes(alpha).fit(x, y, codes)
    scale = x.std()
    spread = (2 / scale) ** 2  # of both classes about the middle, in units of the features' deviation
    slope = (2 / scale) * 0.5 / (spread + alpha)
    assert head.map == pytest.approx(np.array([[-slope, slope]]))
    assert (1.0 - head.mean) / head.scale == pytest.approx(head.offset)
    assert head.centre.tolist() == [0.5, 0.5]


def test_parts_that_all_classes_have_tell_nothing() -> None:
    """Without the centre, the first column alone would make every candidate look alike."""
    codes = np.column_stack([np.full(4, 9.0), CODES])
    head = ComponentCodes(1e-9).fit(SIDES[[0, 1, 2]], np.array([0, 1, 2]), codes)
    scores = head.scores(SIDES[:1], codes)[0]
    assert scores[0] == pytest.approx(1.0, abs=1e-6)
    assert scores[3] < -0.5
