"""The mean number of experts asked, where a model says how many."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedlt.data.task import Task
from fedlt.learner import Prediction
from fedlt.measures.experts import ExpertsAsked
from fedlt.statistic import Predicted, Subject

NOTHING: Any = None


def asked(*experts: list[float] | None) -> ExpertsAsked:
    found = ExpertsAsked().empty(Task("single", 2, (1,)), Subject("generic"))
    for each in experts:
        size = 4 if each is None else len(each)
        extra = {} if each is None else {"experts": torch.tensor(each)}
        found.add(Predicted(Prediction(torch.zeros(size, 2), extra=extra), torch.zeros(size), torch.arange(size)))
    return found


def test_experts_asked_are_averaged_over_all_samples() -> None:
    assert asked([1.0, 3.0], [2.0, 1.0, 1.0]).figures(NOTHING) == {"experts": 8 / 5}
    assert asked([1.0, 3.0], None).figures(NOTHING) == {"experts": 4 / 6}  # four samples of which nothing is told
    assert asked(None).figures(NOTHING) == {}


def test_parts_add_up() -> None:
    whole, other = asked([1.0, 3.0]), asked([2.0])
    whole.merge(other)
    assert whole.to_arrays()["counts"].tolist() == [6, 3]


def test_a_third_value_without_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"extra=\{'experts': \.\.\.\}"):
        Prediction(torch.zeros(1, 2), None, torch.ones(1))  # type: ignore[arg-type]
