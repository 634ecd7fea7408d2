"""AW-MoE: experts and gate by hand, the contrast of the gate, and where it has no meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedlt.config.sections import Local
from fedlt.data.inputs.histories import HistoryKind
from fedlt.data.kinds.liked import Liked
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.learner import Learner, Prediction
from fedlt.learners.aw_moe import AWMoE
from fedlt.measures.areas import Areas, auroc
from fedlt.nn.behaviour_experts import BehaviourExperts, BehaviourExpertsModel
from fedlt.nn.net import Net
from fedlt.statistic import NOBODY, Predicted, Subject

# Four items and a shelf (values 4 and 5); the first of a row is asked about, and row 1 has one item before it.
CODES = np.array([[0, 4], [1, 4], [2, 5], [3, -1]], np.int32)
KIND = HistoryKind(4, 4, True, ("item", "shelf"), (0, 1, 2), CODES, asked=True)
X = torch.tensor([[0, 1, 2, 3], [2, 0, -1, -1], [3, 2, 1, -1]])
Y = torch.tensor([1, 0, 1])
TASK = Task("liked", 2, (4,), target=Liked(), inputs=KIND)


@pytest.fixture
def site(make_client: Any) -> Any:
    def make(learner: Learner, experts: int = 3) -> Any:
        torch.manual_seed(0)
        net = BehaviourExpertsModel(width=5, experts=experts, hidden=4, dim=3, attention=4).build(TASK)
        net.inputs = KIND
        learner.build(net, TASK)
        found = make_client(net, X, Y, Local(epochs=1, batch_size=3, lr=0.1), learner=learner)
        found.task = TASK
        return found

    return make


def test_experts_and_gate_by_hand() -> None:
    """Activations are a softmax over the history, the gate is their mean of the gate units, and weighs the experts."""
    torch.manual_seed(0)
    tower = BehaviourExperts(KIND, 5, 2, 4, 3, 4)
    table = tower.table.weight
    zero, one, two = table[0] + table[4], table[1] + table[4], table[2] + table[5]
    mask = torch.tensor([[True, True, True, False]])
    found = tower(torch.tensor([[0, 1, 2, 0]]), mask)

    pairs = torch.stack([torch.cat([item, zero, item * zero]) for item in (one, two)])
    shares = tower.activation_unit(pairs)[:, 0].softmax(0)
    gate = (shares[:, None] * tower.gate_unit(pairs)).sum(0).softmax(0)
    past = shares[0] * one + shares[1] * two
    said = [expert(torch.cat([zero, past, zero * past])) for expert in tower.experts]
    assert torch.allclose(found[0], gate[0] * said[0] + gate[1] * said[1], atol=1e-6)


def test_the_gate_of_a_masked_history_is_drawn_to_its_whole_one(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = site(AWMoE(weight=0.5, temperature=0.2))
    left = torch.tensor([[True, False, False], [True, False, False], [False, True, False]])
    monkeypatch.setattr(AWMoE, "masked", lambda self, site, there: left)
    batch = Batch(X, Y, torch.arange(3))
    value = float(found.learner.loss(found, batch).detach())
    tower, ids = found.model.backbone, X.clamp(min=0)
    vectors = tower.embedded(ids, X >= 0)
    whole, part = (F.normalize(tower.gate(vectors[:, 0], vectors[:, 1:], seen)[0]) for seen in (X[:, 1:] >= 0, left))
    contrast = -torch.log_softmax(part @ whole.T / 0.2, 1).diagonal().mean()
    main = F.cross_entropy(found.model(X), Y)
    assert value == pytest.approx(float((main + 0.5 * contrast).detach()), rel=1e-5)
    plain = site(AWMoE(weight=0.0))
    assert float(plain.learner.loss(plain, batch).detach()) == pytest.approx(float(main.detach()), rel=1e-5)


def test_masks_leave_one_item_of_each_history(site: Any) -> None:
    found = site(AWMoE(mask=0.7))
    there = torch.arange(20) < torch.tensor([20] * 300 + [1] * 100)[:, None]
    left = found.learner.masked(found, there)
    assert not (left & ~there).any() and left.any(1).all()
    assert float(left[:300].float().mean()) == pytest.approx(0.3, abs=0.03)
    assert left[300:, 0].all()


def test_what_it_needs(site: Any) -> None:
    with pytest.raises(ValueError, match="use model=behaviour_experts"):
        AWMoE().build(Net(nn.Identity(), nn.Linear(2, 2), 2), Task("liked", 2, (2,)))
    with pytest.raises(ValueError, match=r"model.experts=2 or more, or learner.weight=0"):
        site(AWMoE(), experts=1)
    with pytest.raises(ValueError, match="behaviour_experts needs histories with an item that is asked about"):
        BehaviourExpertsModel().build(Task("items", 2, (4,)))


def test_areas_by_hand() -> None:
    """Of two liked and two other items three of four pairs stand in order, and one of one on short histories."""
    assert auroc(np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False])) == 3.5 / 4
    logits = torch.tensor([[0.0, 3], [0, 1], [0, 2], [0, 2.5]])
    y, past = torch.tensor([1, 0, 1, 0]), torch.tensor([[0, 1, -1, -1], [0, 1, -1, -1], [0, 1, 2, 3], [0, 1, 2, -1]])

    class Given:
        def __init__(self, rows: list[int]) -> None:
            self.rows = rows

        def inputs(self) -> torch.Tensor:
            return past[self.rows]

    def made(rows: list[int], client: int = NOBODY, kind: str = "generic") -> Any:
        found = Areas().empty(Task("liked", 2, (4,), target=Liked(short=1), inputs=KIND), Subject(kind))
        said = Prediction(logits[rows])
        found.add(Predicted(said, y[rows], torch.tensor(rows), client, Given(rows)))  # type: ignore[arg-type]
        return found

    whole, parts = made([0, 1, 2, 3]), made([2, 3])
    parts.merge(made([0, 1]))
    expected = {"auc": 3 / 4, "auc_short": 1.0}
    assert whole.figures(None) == parts.figures(None) == expected  # type: ignore[comparison-overlap]
    assert whole.cells[:, 3].tolist() == [1, 1, 3, 2]
    own = made([0, 1], 4, "personal")
    own.merge(made([2, 3], 7, "personal"))
    assert own.rows(None)["clients"]["auc"].tolist() == [1, 0] and own.figures(None)["auc"] == 0.5
    own.forget([7])
    assert own.figures(None)["auc"] == 1
