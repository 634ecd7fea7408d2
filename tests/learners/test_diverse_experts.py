"""SADE and DirMixE: experts for different class distributions, against arithmetic in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fedlt.blocks.priors import reversed_counts
from fedlt.config.sections import Local
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.learners.dirmixe import DirMixE, semi_variance
from fedlt.learners.sade import SADE
from fedlt.nn.experts import experts_of
from fedlt.nn.net import Net

COUNTS = np.array([6, 3, 1])
Y = np.repeat(np.arange(3), COUNTS)
X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


@pytest.fixture
def make_site(make_client: Any) -> Any:
    """A site with 6, 3 and 1 samples of three classes; two layers, of which the second makes experts."""

    def make(learner: Learner, **fields: Any) -> Site:
        torch.manual_seed(0)
        net = Net(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 8)), nn.Linear(8, 3), 8)
        learner.build(net, Task("single", 3, (4,)))
        site: Site = make_client(net, X, Y, Local(epochs=1, batch_size=10, lr=0.1), learner=learner, **fields)
        return site

    return make


def whole(site: Site) -> Batch:
    return site.data.batch(torch.arange(10))


def experts(site: Site) -> NDArray[np.float64]:
    """[3, 10, 3] logits of each expert."""
    with torch.no_grad():
        each = experts_of(site.model).each(site.model.encode(torch.as_tensor(X)))
    return each.double().numpy()  # type: ignore[no-any-return]


def loss_of(scores: NDArray[np.float64]) -> float:
    """Mean cross-entropy of logits [10, 3]."""
    return float((np.log(np.exp(scores).sum(1)) - scores[np.arange(10), Y]).mean())


def value(site: Site) -> float:
    return float(site.learner.loss(site, whole(site)).detach())


# Counts in reverse ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([60, 30, 10], [10, 30, 60]),
        ([5, 0, 3, 1, 0], [1, 0, 3, 5, 0]),
        ([2, 2, 1], [2, 1, 2]),
        ([0, 7], [0, 7]),
    ],
    ids=["all there", "two absent", "two equal", "one there"],
)
def test_counts_are_turned_round_among_the_classes_that_are_there(counts: list[int], expected: list[int]) -> None:
    assert reversed_counts(torch.tensor(counts)).tolist() == expected


# SADE -----------------------------------------------------------------------------------------------------------------


def test_shifts_of_the_third_expert_are_those_of_the_authors_code() -> None:
    """log pi - 2 log pi' with shares .6, .3, .1 turned round: log .6 - 2 log .1 and so on."""
    found = SADE().shifts(torch.tensor([60, 30, 10], dtype=torch.float64))
    assert found[0].tolist() == [0, 0, 0]
    assert found[1].tolist() == pytest.approx(np.log([0.6, 0.3, 0.1]), abs=1e-5)
    assert found[2].tolist() == pytest.approx([4.0943, 1.2040, -1.2809], abs=1e-4)
    second, third = SADE(tau=0.0).shifts(torch.tensor([60, 30, 10]))[1:]
    assert torch.equal(second, third)


def test_each_expert_learns_with_its_own_shift(make_site: Any) -> None:
    site = make_site(SADE(tau=1.5, scale=4.0))
    prior = np.log(COUNTS / 10)
    shifts = (0, prior, prior - 1.5 * np.log(COUNTS[::-1] / 10))
    expected = sum(loss_of(scores + shift) for scores, shift in zip(experts(site), shifts, strict=True))
    assert value(site) == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(site.learner.predict(site.model, torch.as_tensor(X)).double(), torch.as_tensor(
        experts(site).mean(0)), atol=1e-5)  # fmt: skip


def test_a_class_that_a_site_lacks_is_left_alone_by_the_balanced_experts(make_site: Any) -> None:
    """Among the others the tail is turned round as if it did not exist."""
    site = make_site(SADE(scale=4.0))
    site.class_counts = torch.tensor([6, 3, 0])
    assert site.learner.shifts(site.class_counts)[2, :2].tolist() == pytest.approx(
        np.log([2 / 3, 1 / 3]) - 2 * np.log([1 / 3, 2 / 3]), rel=1e-5
    )
    site.learner.loss(site, site.data.batch(torch.arange(9))).backward()
    slopes = [head.weight.grad.norm(dim=1) for head in experts_of(site.model).heads]
    assert (slopes[0] > 1e-3).all()
    for slope in slopes[1:]:
        assert slope[2] < 1e-6
        assert (slope[:2] > 1e-3).all()


# DirMixE --------------------------------------------------------------------------------------------------------------


def test_the_semi_variance_counts_what_lies_above_the_mean() -> None:
    """1, 2, 4, 5: the mean is 3, above it lie 1 and 2, whose squares are summed over 2 - 1."""
    losses = torch.tensor([1.0, 2.0, 4.0, 5.0], requires_grad=True)
    assert float(semi_variance(losses).detach()) == pytest.approx(5.0, abs=1e-5)
    assert float(semi_variance(torch.tensor([0.0, 0.0, 3.0]))) == pytest.approx(4.0)
    assert float(semi_variance(torch.tensor([2.0, 2.0]))) == 0.0


def test_draws_lie_about_the_centre_of_their_expert() -> None:
    """The training shares, equal ones, and the training shares turned round; an absent class has none of them."""
    experts, shares = DirMixE(draws=300).drawn(np.array([12, 0, 6, 2]), np.random.default_rng(0))
    assert sorted(set(experts.tolist())) == [0, 1, 2]
    centres = np.array([[0.6, 0, 0.3, 0.1], [1 / 3, 0, 1 / 3, 1 / 3], [0.1, 0, 0.3, 0.6]])
    assert np.abs(shares - centres[experts]).max() < 0.03
    assert shares.sum(1) == pytest.approx(1)
    assert not shares[:, 1].any()
    wide = DirMixE(draws=300, concentration=10.0).drawn(np.array([12, 0, 6, 2]), np.random.default_rng(0))[1]
    assert np.abs(wide - centres[experts]).max() > 0.2


@pytest.mark.parametrize(("progress", "late"), [(0.79, False), (0.8, True)])
def test_the_loss_is_the_mean_over_draws_and_later_more_of_the_worst(
    make_site: Any, progress: float, late: bool
) -> None:
    learner = DirMixE(draws=7, concentration=20.0, power=1.2, variance=3.0, scale=4.0)
    site = make_site(learner, progress=progress, span=0.0)
    site.rng = np.random.default_rng(5)
    found = value(site)

    index, shares = learner.drawn(COUNTS, np.random.default_rng(5))
    each = experts(site)
    ratios = (shares / (COUNTS / 10)) ** 1.2
    losses = np.array([loss_of(each[k] - np.log(ratio + 1e-9)) for k, ratio in zip(index, ratios, strict=True)])
    above = losses[losses > losses.mean()] - losses.mean()
    assert 1 < len(above) < 7
    extra = 3.0 * (above**2).sum() / (len(above) - 1)
    assert found == pytest.approx(losses.mean() + late * extra, rel=1e-4)


def test_a_class_that_a_site_lacks_is_left_alone(make_site: Any) -> None:
    site = make_site(DirMixE(scale=4.0), progress=0.9)
    site.class_counts = torch.tensor([6, 3, 0])
    site.learner.loss(site, site.data.batch(torch.arange(9))).backward()
    for head in experts_of(site.model).heads:
        slope = head.weight.grad.norm(dim=1)
        assert torch.isfinite(slope).all()
        assert slope[2] < 1e-6
        assert (slope[:2] > 1e-3).all()
