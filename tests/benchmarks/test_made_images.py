"""Precision and recall of made images, with points on a line."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.centralized.made_images import Components, covered

REAL = np.array([[0.0], [1.0], [2.0], [10.0]])


@pytest.mark.parametrize(("nearest", "share"), [(1, 2 / 4), (2, 3 / 4), (3, 1.0)])
def test_points_within_the_ball_of_another_are_covered(nearest: int, share: float) -> None:
    """To the first neighbour balls reach 1, 1, 1 and 8; to the second 2, 1, 2 and 9; to the third all."""
    made = np.array([[2.5], [-0.5], [-1.5], [-3.0]])
    assert covered(made, REAL, nearest) == share


def test_it_is_no_symmetric_share() -> None:
    """What is made lies among what is real, and all at one place."""
    made = np.array([[1.0], [1.1], [1.2]])
    assert covered(made, REAL, 1) == 1.0
    assert covered(REAL, made, 1) == 1 / 4


def test_components_are_those_of_the_widest_directions() -> None:
    images = np.array([[3.0, 1.0], [-3.0, 1.0], [0.0, 1.5], [0.0, 0.5]])
    found = Components.of(images, 1)(images)
    assert np.abs(found[:, 0]).tolist() == pytest.approx([3, 3, 0, 0])
