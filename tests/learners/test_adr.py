"""ADR: entities of a site's samples, which samples stay, and new ones beside them, with hand-sized numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlt
from fedlt.blocks.entities import Entities, calibrated, entities, gini, grouped, needed, pairs
from fedlt.config.sections import Local
from fedlt.data.kinds.multilabel import MultiLabel
from fedlt.data.site import Batch, Rows, Site
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learners.adr import ADR, KEPT, NEW
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net

Y = np.array([0] * 8 + [1] * 3 + [2])
X = np.stack([Y, 10 * Y + np.arange(12)], axis=1).astype(np.float32)
TASK = Task("single", 3, (2,), parents=np.array([0, 1, 1]), group_columns=("ward",))


class Half:
    """A generator whose draws are all 1/2."""

    def random(self, count: int) -> Any:
        return np.full(count, 0.5)


@pytest.fixture
def make_site(make_client: Any) -> Any:
    def make(learner: ADR) -> Site:
        torch.manual_seed(0)
        net = Net(nn.Identity(), nn.Linear(2, 3), 2)
        learner.build(net, TASK)
        site: Site = make_client(net, X, Y, Local(epochs=1, batch_size=12, lr=0.1), learner=learner, span=0.1)
        site.task, site.groups = TASK, {"ward": np.repeat([5, 3, 9, 9], [6, 5, 1, 4])}
        return site

    return make


def test_entities_by_hand(make_site: Any) -> None:
    site = make_site(ADR())
    assert entities(site, "label").counts.tolist() == [8, 3, 1]
    assert entities(site, "parent").counts.tolist() == [8, 4]
    assert grouped(site, "ward").counts.tolist() == [5, 6, 1]
    labels = Entities.of(np.array([0, 0, 0, 1, 2, 2, 2]), np.array([0, 1, 3, 1, 3, 1, 1]))
    assert labels.counts.tolist() == [1, 3, 0, 2]
    together = pairs(labels, 4)  # of the first sample 01, 03 and 13, of the last 13
    assert (together.owner.tolist(), together.entity.tolist()) == ([0, 0, 0, 2], [1, 3, 7, 7])
    assert pairs(Entities.of(np.array([0, 1]), np.array([1, 1])), 4).counts.tolist() == []


def test_entities_of_several_labels_and_unknown_ones(make_site: Any) -> None:
    site = make_site(ADR())
    hot = torch.tensor([[1, 1, 0], [1, -1, 0], [0, 0, 0]], dtype=torch.int8)
    site.data = Rows(site.data.inputs, hot, torch.arange(3))
    site.task = replace(TASK, target=MultiLabel())
    assert entities(site, "label").counts.tolist() == [2, 1]
    assert (entities(site, "pair").owner.tolist(), entities(site, "pair").entity.tolist()) == ([0], [1])


def test_what_it_takes_to_keep_a_sample() -> None:
    """Counts 4 and 1 at a threshold of 2, and 3, 2 at 1: draw * count / threshold, the least of a kind's entities."""
    first = Entities(np.array([0, 1, 2, 3, 3]), np.array([0, 0, 0, 0, 1]))
    second = Entities(np.array([0, 1, 2, 3, 4]), np.array([0, 0, 0, 1, 1]))
    setting = [first, second], [2.0, 1.0]
    assert needed(*setting, 1, 5, Half()).tolist() == [1, 1, 1, 0.25, 1]  # type: ignore[arg-type]
    assert needed(*setting, 2, 5, Half()).tolist() == [1.5, 1.5, 1.5, 1, np.inf]  # type: ignore[arg-type]
    assert needed(*setting, 1, 5).tolist() == [2, 2, 2, 0.5, 2]
    assert needed(*setting, 0, 5, Half()).tolist() == [0.5] * 5  # type: ignore[arg-type]


def test_a_sample_stays_by_threshold_over_count() -> None:
    """300 samples of one entity at a threshold of 60, and 50 of another: a fifth, and all, which are scarce."""
    kind = Entities(np.arange(350), np.repeat([0, 1], [300, 50]))
    kept, scarce = calibrated([kind], [60.0], 1, 350, None, np.random.default_rng(0))
    assert kept[:300].mean() == pytest.approx(0.2, abs=0.05)
    assert kept[300:].all() and np.array_equal(np.flatnonzero(scarce), np.arange(300, 350))


def test_a_share_scales_the_thresholds() -> None:
    """Half of the samples: of the second entity all, and of the first what is left."""
    kind = Entities(np.arange(350), np.repeat([0, 1], [300, 50]))
    kept, scarce = calibrated([kind], [1.0], 1, 350, 0.5, np.random.default_rng(0))
    assert (kept.sum(), kept[300:].sum(), scarce.sum()) == (175, 50, 50)
    random, _ = calibrated([kind], [1.0], 0, 350, 0.5, np.random.default_rng(0))
    assert random.sum() == 175 and 15 < random[300:].sum() < 35
    assert gini(kind.among(kept).counts) < gini(kind.among(random).counts)


def test_gini_by_hand() -> None:
    """Of 1, 1 and 4: mean absolute difference (3 + 3) * 2 / 9 over twice the mean 2; zeros do not count."""
    assert gini(np.array([4, 0, 1, 1])) == pytest.approx(12 / 9 / 4)
    assert gini(np.array([3, 3])) == 0


def test_a_site_uses_the_same_samples_in_all_rounds(make_site: Any) -> None:
    """Of classes of 8, 3 and 1, six samples: those of the rarest always."""
    site = make_site(ADR())
    taken = [np.sort(site.positions(12)) for _ in range(3)]
    assert all(np.array_equal(each, taken[0]) for each in taken)
    assert len(taken[0]) == 6 and 11 in taken[0] and NEW not in site.state
    assert site.state[KEPT].nonzero().flatten().tolist() == taken[0].tolist()
    site.train(site.learner.loss)
    assert site.trainer.work.samples == 6


def test_new_samples_lie_between_two_of_a_class(make_site: Any) -> None:
    """Thresholds of 3: classes 1 and 2 are scarce, and stand for new ones in half of their uses."""
    site = make_site(ADR(thresholds=[3.0], share=None, synthetic=1 / 3))
    order = site.positions(12)
    kept = int(site.state[KEPT].sum())
    assert site.state[NEW].tolist() == [0] * 8 + [0.5] * 4
    assert len(order) == kept + 4 and np.isin(order, np.arange(8, 12)).sum() == 8

    batch = site.data.batch(torch.tensor([0, 8, 9, 11]))
    found = site.learner.synthesised(site, batch, np.array([False, True, True, True]))  # type: ignore[attr-defined]
    assert torch.equal(found.x[[0, 3]], batch.x[[0, 3]]) and torch.equal(found.y, batch.y)
    assert ((found.x[1:3, 1] >= 18) & (found.x[1:3, 1] <= 20)).all() and (found.x[1:3, 0] == 1).all()


def test_new_samples_are_learnt_and_only_in_training(make_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(ADR(thresholds=[3.0], share=None, synthetic=1 / 3))
    site.positions(12)
    seen: list[Any] = []

    def swapped(self: ADR, site: Site, batch: Batch, new: Any) -> Batch:
        seen.append(new.tolist())
        return Batch(batch.x + 1, batch.y, batch.rows)

    monkeypatch.setattr(ADR, "synthesised", swapped)
    batch = site.data.batch(torch.arange(12))
    plain = CrossEntropy().loss(site, batch)
    site.model.train()
    assert site.learner.loss(site, batch).item() != plain.item()
    assert not any(seen[0][:8])
    site.model.eval()
    assert site.learner.loss(site, batch).item() == plain.item() and len(seen) == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"entities": ["pair"]}, r"learner\.entities: a pair needs samples of several labels"),
        ({"entities": ["label", "label"]}, r"learner\.entities: expected each once"),
        ({"columns": ["site"]}, r"learner\.columns: 'site' is no group column; say data\.group_columns=\[ward, site\]"),
        ({"thresholds": [1.0, 2.0]}, r"learner\.thresholds: expected one for each of \['label'\], got 2"),
        ({"passes": 2}, r"learner\.passes: expected at most the 1 of"),
    ],
)
def test_what_has_no_meaning_is_refused(keys: dict[str, Any], message: str) -> None:
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    ADR(columns=["ward"], entities=["parent"]).build(net, TASK)
    with pytest.raises(ScenarioError, match=message):
        ADR(**keys).build(net, TASK)
    with pytest.raises(ScenarioError, match=r"data\.parents: "):
        ADR(entities=["parent"]).build(net, replace(TASK, parents=None))
    with pytest.raises(ValueError, match="token ids"):
        ADR(entities=["token"]).build(net, TASK)


def test_clients_read_the_group_columns_of_their_rows(tiny: dict[str, Any], tmp_path: Any) -> None:
    """Inside FedAvg, with a column that only the file has."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 5)).astype(np.float32), np.arange(120) % 3
    path = tmp_path / "rows.npz"
    np.savez(
        path, x_train=x, y_train=y, x_test=x, y_test=y, ward_train=np.arange(120) % 4, ward_test=np.arange(120) % 4
    )
    tiny["data"] = {"name": str(path), "group_columns": ["ward"]}
    run = fedlt.run(tiny, "learner={name: adr, columns: [ward], share: 0.5}", out=tmp_path, backend="inline")
    whole = fedlt.run(tiny, out=tmp_path, backend="inline")
    assert 0.4 < run.summary["backward_samples"] / whole.summary["backward_samples"] < 0.6
