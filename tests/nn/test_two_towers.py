"""Two towers: what each makes of its items, by hand, and that they fit histories alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.data.inputs.histories import HistoryKind
from fedlt.data.task import Task
from fedlt.nn.two_towers import HistoryTower, ItemTower, TwoTowers

# Three items: 0 has the genres x and y (values 3 and 4), 1 has y, and 2 none.
KIND = HistoryKind(3, 4, True, ("item", "genre"), (0, 1, 3), np.array([[0, 3, 4], [1, 4, -1], [2, -1, -1]], np.int32))
TASK = Task("items", 2, (4,), inputs=KIND)


def test_a_history_is_the_mean_of_its_items_fields() -> None:
    tower = HistoryTower(KIND, 5, 4, 3)
    tower.layers = nn.Sequential()
    table = tower.table.weight
    zero, one, two = table[0] + (table[3] + table[4]) / 2, table[1] + table[4], table[2]
    ids, mask = torch.tensor([[0, 1, 0], [2, 0, 1]]), torch.tensor([[1, 1, 0], [1, 1, 1]], dtype=torch.bool)
    assert torch.allclose(tower(ids, mask), torch.stack([(zero + one) / 2, (zero + one + two) / 3]), atol=1e-6)


def test_an_item_is_its_fields_side_by_side_and_what_is_missing_has_a_vector() -> None:
    tower = ItemTower(KIND, 2, 4, 4, classes=2, scale=10.0)
    tower.layers = nn.Sequential()
    table, missing = tower.table.weight, tower.missing

    def unit(*parts: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(torch.cat(parts), dim=0)

    both = (table[3] + table[4]) / 2
    found = tower.vectors(torch.arange(3))
    assert torch.allclose(
        found, torch.stack([unit(table[0], both), unit(table[1], table[4]), unit(table[2], missing[1])])
    )
    masked = tower.vectors(torch.tensor([0]), torch.tensor([True, False]))
    assert torch.allclose(masked[0], unit(missing[0], both))
    kept = torch.tensor([[True, False, True]])
    assert torch.allclose(tower.vectors(torch.tensor([0]), kept=kept)[0], unit(table[0], table[4]))
    features = torch.randn(1, 4)
    assert torch.allclose(tower(features)[0], 10 * found[:2] @ unit(features[0]), atol=1e-5)


def test_only_items_that_are_classes_are_scored_and_the_catalogue_does_not_travel() -> None:
    model = TwoTowers(width=4, hidden=4, dim=4).build(TASK)
    model.inputs = KIND
    assert model(torch.tensor([[0, 2, -1, -1]])).shape == (1, 2)
    assert not list(model.buffers())
    with pytest.raises(ValueError, match="two_towers needs histories of items"):
        TwoTowers().build(Task("single", 2, (4,)))
