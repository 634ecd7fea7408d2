"""Item SSL: each part of its loss with hand-sized numbers, and that the parts are switched by their keys."""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlt
from fedlt.blocks.masked_fields import masked_fields, mutual_information
from fedlt.config.sections import Local
from fedlt.data.inputs.histories import HistoryKind
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learner import Learner
from fedlt.learners.item_ssl import ItemSSL, batch_softmax
from fedlt.nn.net import Net
from fedlt.nn.two_towers import TwoTowers

# Four items with a shelf and a colour that say the same, and a size of which two items have two and one has none.
CODES = [[0, 4, 6, 8, 9], [1, 4, 6, 8, -1], [2, 5, 7, 8, 9], [3, 5, 7, -1, -1]]
FIELDS = ("item", "shelf", "colour", "size")
KIND = HistoryKind(4, 3, True, FIELDS, (0, 1, 2, 3, 5), np.array(CODES, np.int32))
X = torch.tensor([[0, 1, -1], [1, -1, -1], [2, 3, 0]])
Y = torch.tensor([2, 0, 2])


@pytest.fixture
def site(make_client: Any) -> Any:
    def make(learner: Learner) -> Any:
        torch.manual_seed(0)
        task = Task("items", 4, (3,), inputs=KIND)
        net = TwoTowers(width=4, hidden=4, dim=4).build(task)
        net.inputs = KIND
        learner.build(net, task)
        found = make_client(net, X, Y, Local(epochs=1, batch_size=3, lr=0.1), learner=learner)
        found.task, found.class_counts = task, torch.tensor([1, 0, 2, 0])
        return found

    return make


def batch() -> Batch:
    return Batch(X, Y, torch.arange(3))


def test_the_softmax_over_a_batch_by_hand() -> None:
    """Rows 0 and 2 are of one item and are not each other's negatives."""
    scores = torch.tensor([[1.0, 0.0, 9.0], [2.0, 1.0, 0.0], [9.0, 0.0, 3.0]])
    terms = log(1 + exp(-1)), log(exp(2 - 1) + 1 + exp(-1)), log(1 + exp(-3))
    assert float(batch_softmax(scores, Y)) == pytest.approx(sum(terms) / 3)


def test_scores_are_corrected_for_how_often_items_are_taken(site: Any) -> None:
    """Items 2 and 0 have two samples and one: ln 2 less for the former."""
    for correction, less in ((True, torch.tensor([log(2), 0.0, log(2)])), (False, torch.zeros(3))):
        found = site(ItemSSL(alpha=0.0, correction=correction))
        scores = found.model(X)[:, Y] - less
        assert float(found.learner.loss(found, batch()).detach()) == pytest.approx(
            float(batch_softmax(scores, Y).detach()), rel=1e-5
        )


def test_what_categories_tell_of_each_other_by_hand() -> None:
    """Shelf and colour: ln 2. Sizes of the one shelf are 3/4 and 1/4, of the other 1/4, 1/4 and none for 1/2."""
    found = mutual_information(KIND)
    assert found[1, 2] == found[2, 1] == pytest.approx(log(2))
    assert found[0, 1] == pytest.approx(log(2)) and found[0, 0] == 0
    joint = np.array([[3 / 8, 1 / 8, 0], [1 / 8, 1 / 8, 1 / 4]])
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    expected = (joint[joint > 0] * np.log((joint / apart)[joint > 0])).sum()
    assert found[1, 3] == pytest.approx(expected)


def test_categories_that_tell_most_of_each_other_are_masked_together() -> None:
    """Of shelf and colour one is never masked without the other, unless the item's number was drawn."""
    related = mutual_information(KIND)
    related = related * (np.arange(4) != 0) * (np.arange(4) != 0)[:, None]
    masks = [masked_fields(4, np.random.default_rng(seed), related).tolist() for seed in range(40)]
    drawn = {tuple(np.flatnonzero(mask).tolist()) for mask in masks}
    assert drawn - {(0, 1)} == {(1, 2), (1, 3)}  # (0, 1): the number was drawn, and size joins the first of two alike
    assert all(sum(mask) == 2 for mask in masks)
    drawn = {tuple(masked_fields(4, np.random.default_rng(seed)).tolist()) for seed in range(60)}
    assert len(drawn) == 6
    assert int(masked_fields(5, np.random.default_rng(0)).sum()) == 3


def test_two_views_see_different_halves_and_are_contrasted(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = site(ItemSSL(alpha=0.5, dropout=0.0, correction=False, temperature=0.2))
    seen: list[Any] = []
    tower = found.model.head
    plain = tower.vectors

    def watched(items: Any, masked: Any = None, kept: Any = None) -> Any:
        seen.append((items.tolist(), None if masked is None else masked.tolist()))
        return plain(items, masked, kept)

    monkeypatch.setattr(tower, "vectors", watched)
    value = float(found.learner.loss(found, batch()).detach())
    (of_batch, _), (items, masked), (others, rest) = seen
    assert of_batch == Y.tolist() and items == others and rest == [not each for each in masked]
    first, second = (plain(torch.tensor(items), torch.tensor(mask)) for mask in (masked, rest))
    contrast = batch_softmax(first @ second.T / 0.2, torch.tensor(items))
    main = batch_softmax(found.model(X)[:, Y], Y)
    assert value == pytest.approx(float((main + 0.5 * contrast).detach()), rel=1e-5)


def test_items_come_from_the_catalogue_or_from_the_batch(site: Any) -> None:
    def items(learner: ItemSSL) -> set[int]:
        found, drawn = site(learner), set()
        tower = found.model.head
        plain = tower.vectors
        tower.vectors = lambda items, *more: (drawn.update(items.tolist()), plain(items, *more))[1]
        for _ in range(6):
            learner.contrast(found, batch())
        return drawn

    assert items(ItemSSL()) == {0, 1, 2, 3}
    assert items(ItemSSL(items="stream")) == {0, 2}


def test_values_are_dropped_where_an_item_may_have_several(site: Any) -> None:
    found = site(ItemSSL(dropout=0.5))
    kept = found.learner.kept(found, found.model.head, 400).float().mean(0)
    assert kept[:3].tolist() == [1, 1, 1]
    assert kept[3:].tolist() == pytest.approx([0.5, 0.5], abs=0.1)


def test_what_it_needs(site: Any) -> None:
    with pytest.raises(ValueError, match="use model=two_towers"):
        ItemSSL().build(Net(nn.Identity(), nn.Linear(2, 2), 2), Task("items", 2, (2,)))


@pytest.mark.slow
def test_it_learns_more_than_chance_in_a_federation(tmp_path: Any) -> None:
    """20 of 400 books are 5 %."""
    keys = ["federation.rounds=1", "local.epochs=1", "local.lr=0.01"]
    run = fedlt.run("book_loans", *keys, out=tmp_path, backend="inline")
    assert run.final["generic/recall"] > 0.1
    assert run.final["personal/recall"] > 0.1
    with pytest.raises(ScenarioError, match="fedloge"):
        fedlt.run("book_loans", "strategy=fedloge", "learner=cross_entropy", out=tmp_path, backend="inline")
