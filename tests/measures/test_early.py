"""Early decisions: the first alarm and what it costs, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fedlt.measures.early import erde, first_alarm


def test_an_alarm_is_raised_at_the_first_item_that_puts_the_class_ahead() -> None:
    positive = torch.tensor([[0.0, 1.0, 0.0], [2.0, 1.0, 3.0], [0.0, 0.0, 5.0]])
    scores = torch.stack([torch.full_like(positive, 0.5), positive], dim=-1)
    called, read = first_alarm(scores, torch.tensor([3, 3, 2]))
    assert called.tolist() == [True, True, False]  # the third one's padding is not read
    assert read.tolist() == [2, 1, 2]


def test_a_tie_is_no_alarm_and_all_other_classes_must_be_behind() -> None:
    scores = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 1.0, 2.0]]])
    called, read = first_alarm(scores, torch.tensor([2]), positive=2)
    assert called.tolist() == [True] and read.tolist() == [2]


def test_the_cost_of_each_outcome_by_hand() -> None:
    """A false alarm, a miss, a right silence, and right alarms after 3 and 5 items of which 5 is half late."""
    called = torch.tensor([True, False, False, True, True])
    positive = torch.tensor([False, True, False, True, True])
    read = torch.tensor([1, 9, 9, 3, 5])
    right = 1 - 1 / (1 + math.exp(3 - 5)) + 0.5
    assert erde(called, positive, read, late=5, false_alarm=0.1296) == pytest.approx((0.1296 + 1 + right) / 5)
    assert erde(called, positive, read, late=5) == pytest.approx((3 / 5 + 1 + right) / 5)
