"""Recall and NDCG of ranked items, with hand-sized numbers."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, log2
from typing import Any

import numpy as np
import pytest
import torch

from fedlt.data.inputs.tokens import TokenKind
from fedlt.data.kinds.items import Items
from fedlt.data.ragged import Ragged
from fedlt.data.task import Task
from fedlt.learner import Prediction
from fedlt.measures.defaults import statistics
from fedlt.measures.ranking import Ranks
from fedlt.statistic import NOBODY, Known, Predicted, Subject


class Given:
    """Inputs that are at hand."""

    def __init__(self, x: torch.Tensor) -> None:
        self._x = x

    def inputs(self) -> torch.Tensor:
        return self._x


# Four items. The right one is first, third behind an equal one, and second once the history's item 0 is left out.
LOGITS = torch.tensor([[5.0, 1, 2, 3], [3, 2, 2, 1], [9, 5, 4, 1], [4, 3, 2, 1]])
Y = torch.tensor([0, 1, 2, 3])
PAST = torch.tensor([[3, -1], [3, -1], [0, 2], [5, 1]])  # what may come again is the right one alone; 5 is no class
KNOWN = [200, 50, 5, 5]


def known() -> Known:
    counts, none = np.array(KNOWN), np.zeros(0, np.int64)
    return Known(list("abcd"), counts, counts, counts, lambda k: counts, none, none)


def made(target: Items, kind: str = "generic", client: int = NOBODY, rows: Any = (0, 1, 2, 3)) -> Any:
    task = Task("items", 4, (2,), target=target, inputs=TokenKind(6, 2, True))
    found = Ranks().empty(task, Subject(kind))
    at = torch.tensor(rows)
    found.add(Predicted(Prediction(LOGITS[at]), Y[at], at, client, Given(PAST[at])))  # type: ignore[arg-type]
    return found


def test_ranks_by_hand() -> None:
    assert made(Items()).cells[:, 3:].tolist() == [[1, 1], [3, 1], [2, 2], [3, 2]]
    assert made(Items(repeats=True)).cells[:, 3].tolist() == [1, 3, 3, 4]


def test_figures_by_hand() -> None:
    """Of head, medium and two tail items the ranks are 1, 3, and 2 and 3; the first two histories are short."""
    found = made(Items(at=2, short=1)).figures(known())
    gain = 1 / log2(3)
    assert found["recall"] == 2 / 4 and found["ndcg"] == pytest.approx((1 + gain) / 4)
    assert [found[f"recall_{group}"] for group in ("many", "medium", "few", "short")] == [1, 0, 0.5, 0.5]
    assert [found[f"ndcg_{group}"] for group in ("many", "medium", "few", "short")] == pytest.approx(
        [1, 0, gain / 2, 0.5]
    )
    assert isnan(made(Items(at=2, short=1), rows=[0, 1]).figures(known())["recall_few"])


def test_the_generic_model_on_clients_own_samples() -> None:
    """Client 0 has rows 0 and 1, of which the first is right; client 1 has none, client 2 the rows 2 and 3."""
    tests = Ragged(np.array([0, 1, 2, 3]), np.array([0, 2, 2, 4]))
    rows = made(Items(at=3)).rows(replace(known(), tests=tests))["clients"]["generic"]
    assert rows.tolist() == pytest.approx([1, float("nan"), 1], nan_ok=True)
    rows = made(Items(at=2), rows=[0, 1, 3]).rows(replace(known(), tests=tests))["clients"]["generic"]
    assert rows.tolist() == pytest.approx([0.5, float("nan"), 0], nan_ok=True)


def test_parts_merge_in_any_order_and_clients_are_forgotten() -> None:
    target = Items(at=2)
    whole, parts = made(target), [made(target, rows=rows) for rows in ([2, 3], [0], [1])]
    for part in parts[1:]:
        parts[0].merge(part)
    assert np.array_equal(parts[0].cells, whole.cells)
    again = Ranks().empty(whole.task, whole.subject)
    again.from_arrays(whole.to_arrays())
    assert again.figures(known()) == pytest.approx(whole.figures(known()))

    both = made(target, "personal", 3, [0, 1])
    both.merge(made(target, "personal", 5, [2, 3]))
    figures = both.figures(known())
    assert figures["recall"] == 0.5 and figures["clients"] == 2
    assert both.rows(known())["clients"]["ndcg"] == pytest.approx([0.5, 1 / log2(3) / 2])
    both.forget([3])
    assert both.rows(known())["clients"]["client"].tolist() == [5]


def test_items_are_measured_by_ranks_alone() -> None:
    assert list(statistics(Items())) == ["ranks"]
    assert made(Items(at=2)).rows(known())["classes"]["recall"].tolist() == [1, 0, 1, 0]
