"""COMIC and ASL: each part's formula with hand-sized numbers, and where they have no meaning."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import fedlt
from fedlt.blocks.asymmetric import asymmetric_terms
from fedlt.config.sections import Local
from fedlt.data.kinds.multilabel import MultiLabel
from fedlt.data.site import Batch, Rows, Site
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learner import Learner
from fedlt.learners.asymmetric_loss import AsymmetricLoss
from fedlt.learners.comic import COMIC, disagreement
from fedlt.nn.head_tail import BALANCED, HEAD, TAIL, HeadTailHeads, heads_of
from fedlt.nn.net import Net
from fedlt.strategy import Strategy

# Class 0 is annotated four times, 1 twice, 2 once; the entry of the last row is unknown.
HOT = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, -1]])
X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
PLAIN = {"corrector": "none", "modifier": False, "balancer": False}


@pytest.fixture
def make_site(make_client: Any) -> Any:
    """A site with these labels; features are the inputs, the head is linear or the learner's."""

    def make(learner: Learner, **fields: Any) -> Site:
        torch.manual_seed(0)
        task = Task("multilabel", 3, (3,), target=MultiLabel())
        net = Net(nn.Identity(), nn.Linear(3, 3), 3)
        learner.build(net, task)
        local = Local(epochs=1, batch_size=6, lr=0.1)
        site: Site = make_client(net, X, [0, 1, 2, 0, 1, 2], local, learner=learner, **{"span": 0.1, **fields})
        hot = torch.as_tensor(HOT, dtype=torch.int8)
        site.data, site.task = Rows(site.data.inputs, hot, site.data.index), task
        site.class_counts = torch.tensor([4, 2, 1])
        net.train()
        return site

    return make


def whole(site: Site) -> Batch:
    return site.data.batch(torch.arange(6))


def given(y: Any) -> Batch:
    labels = torch.as_tensor(y, dtype=torch.int8)
    return Batch(torch.zeros(len(labels), 3), labels, torch.arange(len(labels)))


def value(site: Site) -> float:
    return float(site.learner.loss(site, whole(site)).detach())


def bce(site: Site) -> float:
    """Sum of binary cross-entropies of the known entries, for each of the seven positives."""
    with torch.no_grad():
        p = site.model(torch.as_tensor(X)).sigmoid().double().numpy()
    known: NDArray[np.float64] = np.where(HOT == 1, -np.log(p), -np.log(1 - p)) * (HOT >= 0)
    return float(known.sum() / 7)


# The losses -----------------------------------------------------------------------------------------------------------


def test_terms_of_the_asymmetric_loss_by_hand() -> None:
    """Probabilities 0.8 and 0.3; of a negative 0.3 - 0.05 is left."""
    logits = torch.tensor([[log(4), log(3 / 7), log(4)]], dtype=torch.float64)
    found = asymmetric_terms(logits, torch.tensor([[1, 0, -1]]), 1.0, torch.tensor([9.0, 2.0, 9.0]), 0.05)
    assert found[0].tolist() == pytest.approx([-0.2 * log(0.8), -(0.25**2) * log(0.75), 0])
    below = asymmetric_terms(torch.tensor([[-4.0]]), torch.tensor([[0]]), 0.0, 4.0, 0.05)  # p = 0.018
    assert below.tolist() == [[0]]


def test_no_gradient_passes_the_focusing_powers() -> None:
    """The slope of -q^2 log(1 - q) with the power held: q^2 / (1 - q) times p (1 - p)."""
    logits = torch.tensor([[log(3 / 7)]], dtype=torch.float64, requires_grad=True)
    asymmetric_terms(logits, torch.tensor([[0]]), 0.0, 2.0, 0.05).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and logits.grad.item() == pytest.approx(0.25**2 / 0.75 * 0.3 * 0.7)


def test_asymmetric_loss_is_a_mean_over_samples_and_without_focus_binary_cross_entropy(make_site: Any) -> None:
    site = make_site(AsymmetricLoss(gamma_neg=0.0, shift=0.0))
    assert value(site) == pytest.approx(bce(site) * 7 / 6)
    focused = AsymmetricLoss(gamma_pos=0.5, gamma_neg=2.0, shift=0.1)
    with torch.no_grad():
        p = site.model(torch.as_tensor(X)).sigmoid().numpy()
    q = np.maximum(p - 0.1, 0)
    terms = np.where(HOT == 1, -((1 - p) ** 0.5) * np.log(p), -(q**2) * np.log(1 - q)) * (HOT >= 0)
    assert float(focused.loss(site, whole(site)).detach()) == pytest.approx(terms.sum() / 6, rel=1e-5)


def test_without_its_parts_comic_is_binary_cross_entropy(make_site: Any) -> None:
    site = make_site(COMIC(**PLAIN))
    assert value(site) == pytest.approx(bce(site))
    assert not site.state and isinstance(site.model.head, nn.Linear)


def test_the_modifier_weighs_and_focuses_by_class(make_site: Any) -> None:
    """Counts 100, 10 and 1: weights 1, (1 + log 10)^(1/6), (1 + log 100)^(1/6); a class without any has the last."""
    learner = COMIC(corrector="none", balancer=False)
    expected = [1, (1 + log(10)) ** (1 / 6), (1 + log(100)) ** (1 / 6)]
    weights = learner.weights(torch.tensor([100, 10, 1]))
    assert weights.tolist() == pytest.approx(expected)
    assert learner.weights(torch.tensor([100, 10, 0])).tolist() == pytest.approx(expected)
    logits, y = torch.randn(4, 3), torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    terms = weights * asymmetric_terms(logits, y, 0.0, 3 + weights, 0.05)
    assert float(learner.loss_of(logits, y, y, weights)) == pytest.approx(float(terms.sum()) / 4)


def test_annotated_positives_need_a_margin_and_recovered_ones_do_not() -> None:
    learner = COMIC(modifier=False, balancer=False, margin=2.0)
    logits, annotated, labels = torch.tensor([[1.0, 1.0]]), torch.tensor([[1, 0]]), torch.tensor([[1, 1]])
    found = learner.loss_of(logits, annotated, labels, torch.ones(2))
    assert float(found) == pytest.approx((log(1 + np.exp(1)) + log(1 + np.exp(-1))) / 2)


# The corrector --------------------------------------------------------------------------------------------------------


def corrected(site: Site, batch: Batch, p: Any, works: bool = True) -> list[list[int]]:
    rule = site.learner.rule  # type: ignore[attr-defined]
    found: list[list[int]] = rule(site, batch, torch.as_tensor(p, dtype=torch.float32), works).tolist()
    return found


def test_a_class_asks_for_the_confidence_of_its_annotated_positives(make_site: Any) -> None:
    """Confidences 0.9 + 0.1 * (0.5, 0.7, nothing) = 0.95, 0.97, 1; then `floor` and these are asked for."""
    site = make_site(COMIC(missing=None))
    first = given([[1, 0, 0], [1, 1, 0]])
    assert corrected(site, first, [[0.4, 0, 0], [0.6, 0.7, 0]]) == first.y.tolist()
    assert site.state["comic/confidence"].tolist() == pytest.approx([0.95, 0.97, 1.0])
    site.state["comic/confidence"] = torch.tensor([0.9, 0.5, 0.9])
    nothing = given([[0, 0, 0], [0, 0, -1]])
    p = [[0.91, 0.79, 0.89], [0.89, 0.81, 0.99]]
    assert corrected(site, nothing, p) == [[1, 0, 0], [0, 1, -1]]
    assert site.state["comic/recovered"].tolist() == [1, 1, 0]
    assert corrected(site, nothing, p, works=False) == nothing.y.tolist()


def test_the_literal_rule_asks_for_the_floor_and_the_batchs_mean(make_site: Any) -> None:
    """Means 0.75, 0.8 and 0.1: what is above both `floor` and the mean."""
    site = make_site(COMIC(corrector="literal", floor=0.7, missing=None))
    batch = given([[0, 0, 0], [0, 0, 1]])
    assert corrected(site, batch, [[0.72, 0.9, 0.1], [0.78, 0.7, 0.1]]) == [[0, 1, 0], [1, 0, 1]]


def test_the_guard_trips_where_a_class_would_gain_more_than_may_be_missing(make_site: Any) -> None:
    """rho 0.5 and counts 4, 2, 1: at most 4, 2 and 1 in a pass of six samples; what would cross it is refused."""
    site = make_site(COMIC(corrector="literal", floor=0.1, missing=0.5))
    sure = [[0.9, 0.9, 0.9], [0.9, 0.9, 0.9], [0.2, 0.2, 0.2]]
    nobody = given(np.zeros((3, 3)))
    assert corrected(site, nobody, sure) == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert site.state["comic/refused"].tolist() == [0, 0, 2]
    assert corrected(site, nobody, sure) == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert site.state["comic/refused"].tolist() == [0, 2, 4]
    assert site.state["comic/recovered"].tolist() == [4, 2, 0]
    assert corrected(site, nobody, sure) == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]  # six samples were seen: a new pass
    free = make_site(COMIC(corrector="literal", floor=0.1, missing=None))
    assert [corrected(free, nobody, sure)[0] for _ in range(2)] == [[1, 1, 1]] * 2
    assert make_site(COMIC(missing=0.2)).learner.rule.missing == 0.2


def test_the_bound_follows_the_share_that_may_be_missing(make_site: Any) -> None:
    """rho 0.2: a quarter of 4, 2 and 1."""
    site = make_site(COMIC(corrector="literal", floor=0.1, missing=0.2))
    assert corrected(site, given(np.zeros((2, 3))), [[0.9, 0.9, 0.9], [0.2, 0.2, 0.2]]) == [[1, 0, 0], [0, 0, 0]]


def test_recovered_labels_are_learnt_and_counted_from_the_start_on_and_in_training_alone(make_site: Any) -> None:
    learner = COMIC(balancer=False, margin=0.0, start=0.5)
    losses = []
    for progress, training in ((0.0, True), (0.6, True), (0.6, False)):
        site = make_site(learner, progress=progress)
        site.model.train(training)
        site.state = {f"comic/{name}": torch.tensor([0, 0, 0]) for name in ("recovered", "refused")}
        site.state |= {"comic/confidence": torch.tensor([0.9, 0.9, 0.9]), "comic/seen": torch.tensor(0)}
        with torch.no_grad():
            site.model.head.bias.fill_(4.0)  # sure of everything
        losses.append(float(learner.loss(site, whole(site)).detach()))
        found = site.state["comic/recovered"].tolist()
        assert found == ([2, 0, 0] if progress and training else [0, 0, 0])
        assert bool(site.state["comic/seen"]) == training
    early, late, tested = losses
    assert late < early == tested
    labels = torch.as_tensor(HOT).clone()
    labels[4:, 0] = 1
    logits = site.model(torch.as_tensor(X)).detach()
    weights = learner.weights(torch.tensor([6, 2, 1]))  # the two recovered ones count
    assert late == pytest.approx(float(learner.loss_of(logits, whole(site).y, labels, weights)))


# The balancer ---------------------------------------------------------------------------------------------------------


def test_three_heads_by_hand() -> None:
    """f = (3, 4) has the direction (0.6, 0.8); along d = (1, 0) it has 0.6, so that the head's sees (0, 0.8) and the
    tail's, with 2, (1.8, 0.8). Rows of norm 2 are divided by 2.5.
    """
    heads = HeadTailHeads(2, 2, scale=10.0, soft=0.5, tail=2.0, momentum=0.75)
    with torch.no_grad():
        heads.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 2.0]]).expand(3, 2, 2))
    heads.follow(torch.tensor([[4.0, 0.0], [8.0, 0.0]]))
    assert heads.direction.tolist() == [1.5, 0]
    heads.follow(torch.tensor([[4.0, 0.0]]))
    assert heads.direction.tolist() == [0.75 * 1.5 + 0.25 * 4, 0]
    features = torch.tensor([[3.0, 4.0]])
    assert heads.of(HEAD, features)[0].tolist() == pytest.approx([0, 6.4])
    assert heads.of(TAIL, features)[0].tolist() == pytest.approx([14.4, 6.4])
    assert heads.of(BALANCED, features)[0].tolist() == pytest.approx([4.8, 6.4])
    assert torch.equal(heads(features), heads.of(BALANCED, features))


def test_what_two_heads_disagree_about_by_hand() -> None:
    """Softmaxes (0.8, 0.2) and (0.5, 0.5): together 0.5."""
    assert float(disagreement(torch.tensor([[log(4), 0.0]]), torch.zeros(1, 2))) == pytest.approx(-log(0.5))


def test_the_head_with_the_larger_loss_teaches_more(make_site: Any) -> None:
    learner = COMIC(corrector="none")
    site = make_site(learner)
    found = learner.loss(site, whole(site))
    heads, x = heads_of(site.model), torch.as_tensor(X)
    assert heads.direction.tolist() == pytest.approx((0.1 * X.mean(0)).tolist())
    y, weights = whole(site).y, learner.weights(site.class_counts)
    logits = [heads.of(which, x) for which in (HEAD, TAIL, BALANCED)]
    own = [learner.loss_of(each, y, y, weights) for each in logits]
    share = (own[0] ** 2 / (own[0] ** 2 + own[1] ** 2)).detach()
    taught = share * disagreement(logits[0].detach(), logits[2])
    taught = taught + (1 - share) * disagreement(logits[1].detach(), logits[2])
    assert float(found.detach()) == pytest.approx(float((sum(own) + taught).detach()), rel=1e-5)
    expected = torch.autograd.grad(sum(own) + taught, heads.weight)[0]  # type: ignore[arg-type]
    (slope,) = torch.autograd.grad(found, heads.weight)
    assert torch.allclose(slope, expected, atol=1e-6)


# Where it has a meaning -----------------------------------------------------------------------------------------------


class OwnHead(Strategy):
    learner_parts = ("loss", "stages", "prediction")


def test_three_heads_have_no_meaning_where_a_strategy_has_its_own() -> None:
    assert "learner.balancer=false" in (COMIC().obstacle(OwnHead()) or "")
    assert COMIC(balancer=False).obstacle(OwnHead()) is None and COMIC().obstacle(Strategy()) is None


@pytest.mark.parametrize("learner", ["comic", "asymmetric_loss"])
def test_one_class_a_sample_is_refused(tiny: dict[str, Any], learner: str) -> None:
    message = rf"learner: {learner} reads several classes a sample \(multilabel\), .* are single; .*targets=multilabel"
    with pytest.raises(ScenarioError, match=message):
        fedlt.run(tiny, f"learner={learner}", out="unused", backend="inline")
