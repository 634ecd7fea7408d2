"""Rows on pre-training and on domains: orders that differ where they must, steps until a loss, encoders of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.centralized.foundation import ORIGINS, RARE, origin, tail
from benchmarks.centralized.row_models import Recurrent, Rows, Transformer
from benchmarks.centralized.upsampling import STEPS, reached, theory
from fedlt.data.task import Task


def test_the_rarest_classes_of_one_pretraining_are_not_those_of_another() -> None:
    rare = [set(origin(number)[-RARE:].tolist()) for number in range(ORIGINS)]
    assert len(set.union(*rare)) == ORIGINS * RARE
    counts = tail(origin(0), 1000)["counts"]
    assert counts[origin(0)[0]] == 1000 and counts[origin(0)[-1]] == 10


def test_steps_until_a_loss_are_those_of_the_first_round_below_it() -> None:
    assert reached(np.array([3.0, 2.0, 1.0, 2.0]), 2.0) == 2 * STEPS
    assert reached(np.array([3.0]), 2.0) == np.inf


def test_the_theorems_hold() -> None:
    assert all(check.holds for check in theory())


@pytest.mark.parametrize("recipe", [Transformer(width=8, heads=2), Recurrent(width=8)])
def test_each_row_of_an_image_has_a_state(recipe: Transformer | Recurrent) -> None:
    backbone = recipe.build(Task("single", 3, (1, 5, 4))).backbone
    assert isinstance(backbone, Rows)
    x = torch.rand(2, 1, 5, 4)
    assert backbone.states(x).shape == (2, 5, backbone.state_dim)
    torch.testing.assert_close(backbone(x), backbone.states(x).mean(1))
