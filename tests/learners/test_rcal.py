"""Gaussians of noisy, long-tailed classes, and RCAL, against arithmetic in NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from few_images import PIXELS, Y, site_of
from numpy.typing import NDArray

from fedlt.blocks.gaussians import Gaussians, calibrated, factors, inliers, robust_gaussians
from fedlt.data.site import Site
from fedlt.learners.rcal import ANCHOR, FACTOR, MEAN, RCAL

# Gaussians ------------------------------------------------------------------------------------------------------------


def test_a_rare_class_is_moved_towards_the_frequent_ones_by_hand() -> None:
    """Counts 60, 40, 2 (mean 34): the first two are frequent, at distances 3 and 4 of the rare one.

    With the nearer one alone and share 1/4: mu' = 3/4 (0, 0) + 1/4 (3, 0). With both, w = (60 / 3, 40 / 4) / 30 = (2/3,
    1/3).
    """
    found = Gaussians(
        np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0], [0.0, 0.0]]),
        np.array([np.diag([1.0, 3.0]), np.diag([2.0, 2.0]), np.diag([4.0, 0.0]), np.zeros((2, 2))]),
        np.array([60, 40, 2, 0]),
    )
    assert found.level == 2  # (1 + 3 + 2 + 2) / 4
    one = calibrated(found, nearest=1, share=0.25, ridge=0.5)
    assert one.means.tolist() == [[3, 0], [0, 4], [0.75, 0], [0, 0]]
    assert one.covariances[2] == pytest.approx(0.75 * np.diag([4, 0]) + 0.25 * np.diag([1, 3]) + 0.5 * 2 * np.eye(2))
    assert np.array_equal(one.covariances[[0, 1, 3]], found.covariances[[0, 1, 3]])
    both = calibrated(found, nearest=3, share=0.25, ridge=0.0)
    assert both.means[2] == pytest.approx(0.25 * np.array([2 / 3 * 3, 1 / 3 * 4]))
    off = calibrated(found, nearest=3, share=0.0, ridge=0.0)
    assert np.array_equal(off.means, found.means)
    assert np.array_equal(off.covariances, found.covariances)
    roots = factors(found)
    assert roots[2] @ roots[2].T == pytest.approx(np.diag([4.04, 0.04]))


def test_outliers_are_left_out_and_tiny_classes_keep_all() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(60, 4)), 40 + np.arange(3)[:, None] * rng.normal(size=(3, 4))])
    labels = np.zeros(63, np.int64)
    assert inliers(features)[60:].tolist() == [False] * 3
    assert inliers(features).sum() > 55
    found = robust_gaussians(np.concatenate([features, features[-5:]]), np.append(labels, [2] * 5), 3)
    kept = features[inliers(features)]
    assert found.means[0] == pytest.approx(kept.mean(0))
    assert found.covariances[0] == pytest.approx((kept - kept.mean(0)).T @ (kept - kept.mean(0)) / (len(kept) - 1))
    assert found.means[2] == pytest.approx(features[-5:].mean(0))
    assert not found.covariances[1].any()
    assert found.counts.tolist() == [63, 0, 5]


def test_calibration_finds_the_spread_of_a_rare_class_again() -> None:
    """The property: of four samples in twenty dimensions nothing is left of most directions; neighbours know them."""
    rng = np.random.default_rng(0)
    scale = np.linspace(0.5, 2, 20)
    centres = rng.normal(size=(4, 20)) * 3
    labels = np.repeat(np.arange(4), [200, 200, 200, 4])
    found = robust_gaussians(centres[labels] + scale * rng.normal(size=(604, 20)), labels, 4)

    def error(nearest: int, share: float, ridge: float) -> float:
        """KL of the true Gaussian to the one found, per dimension, means aside."""
        root = factors(calibrated(found, nearest, share, ridge))[3]
        inverse = np.linalg.inv(root @ root.T)
        spread = (
            np.trace(inverse @ np.diag(scale**2)) - 20 - np.log(np.prod(scale**2)) + 2 * np.log(np.diag(root)).sum()
        )
        return float(spread / 40)

    assert max(error(3, 0.3, 0.0), error(3, 0.1, 0.2)) < error(3, 0.0, 0.0) / 5


def test_points_bring_back_a_rare_class_under_noise() -> None:
    """The property, with its control: a head trained on the samples alone gives the rare class up."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    centres = 1.2 * rng.normal(size=(3, 10))
    true = np.repeat(np.arange(3), [300, 200, 12])
    x, seen = centres[true] + rng.normal(size=(512, 10)), true.copy()
    flipped = rng.random(512) < 0.3
    seen[flipped] = np.where(true[flipped] == 0, 1, 0)  # to a frequent class
    found = robust_gaussians(x, seen, 3)
    better = calibrated(found, 3, 0.1, 0.2)
    extra = np.repeat(np.arange(3), found.counts.max() - found.counts)
    points = better.means[extra] + np.einsum("pij,pj->pi", factors(better)[extra], rng.normal(size=(len(extra), 10)))
    test = centres[2] + rng.normal(size=(400, 10))
    alone = LogisticRegression().fit(x, seen)
    filled = LogisticRegression().fit(np.concatenate([x, points]), np.append(seen, extra))
    assert (filled.predict(test) == 2).mean() > (alone.predict(test) == 2).mean() + 0.2


# RCAL -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_site(make_client: Any) -> Any:
    return partial(site_of, make_client, features=3)


def features(site: Site, pixels: NDArray[Any]) -> NDArray[Any]:
    weight, bias = (site.model.get_parameter(f"backbone.1.{n}").detach().double().numpy() for n in ("weight", "bias"))
    x = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), 48) / 255
    return x @ weight.T + bias  # type: ignore[no-any-return]


def nll(site: Site, f: NDArray[Any]) -> NDArray[Any]:
    """[B, C]"""
    weight, bias = (site.model.get_parameter(f"head.{name}").detach().double().numpy() for name in ("weight", "bias"))
    scores = f @ weight.T + bias
    return np.log(np.exp(scores).sum(1, keepdims=True)) - scores  # type: ignore[no-any-return]


def test_the_second_stage_mixes_fills_up_and_holds_to_the_anchors(make_site: Any) -> None:
    learner = RCAL(alpha=0.7, pull=0.3, share=0.4, ridge=0.5)
    site = make_site(learner, progress=0.5)
    learner.begin(site)
    anchors = features(site, PIXELS)
    assert site.state[ANCHOR].numpy() == pytest.approx(anchors, rel=1e-4)
    better = calibrated(robust_gaussians(anchors, Y, 2), 3, 0.4, 0.5)
    assert site.state[MEAN].numpy() == pytest.approx(better.means, rel=1e-4)
    assert site.state[FACTOR].numpy() == pytest.approx(factors(better), rel=1e-3, abs=1e-4)
    with torch.no_grad():
        site.model.get_parameter("backbone.1.bias").add_(0.5)  # away from the anchors
    site.rng = np.random.default_rng(7)
    found = float(learner.loss(site, site.data.batch(torch.arange(6))).detach())

    rng = np.random.default_rng(7)
    part, order = rng.beta(0.7, 0.7), rng.permutation(6)
    real = features(site, part * PIXELS + (1 - part) * PIXELS[order])
    away = ((real - part * anchors - (1 - part) * anchors[order]) ** 2).sum(1).mean()
    assert away == pytest.approx(3 * 0.25, rel=1e-3)
    scores = nll(site, real)
    soft = part * np.eye(2)[Y] + (1 - part) * np.eye(2)[Y[order]]
    drawn = rng.choice(2, 2, p=[0, 1])  # two samples are missing, both of the rare class
    points = better.means[drawn] + np.einsum("pij,pj->pi", factors(better)[drawn], rng.standard_normal((2, 3)))
    value = ((soft * scores).sum() + nll(site, points)[[0, 1], drawn].sum()) / 8
    assert found == pytest.approx(value + 0.3 * away, rel=1e-4)


def test_points_fill_the_classes_up_to_equal_size(make_site: Any) -> None:
    site = make_site(RCAL(), progress=0.5)
    site.learner.begin(site)
    site.class_counts = torch.tensor([400, 200])
    x, y = RCAL().drawn(site, 60)
    assert y.tolist() == [1] * 20
    assert x.shape == (20, 3)
    assert len(RCAL(points=False).drawn(site, 60)[1]) == 0
    site.class_counts = torch.tensor([300, 300])
    assert len(RCAL().drawn(site, 60)[1]) == 0


def test_the_first_stage_does_not_look_at_labels(make_site: Any) -> None:
    ends = []
    for labels in (Y, 1 - Y):
        site = make_site(RCAL())
        site.data.targets.copy_(torch.as_tensor(labels))
        start = site.flat.storage.clone()
        site.learner.begin(site)
        site.train(site.learner.loss)
        ends.append(site.flat.storage.clone())
        assert ANCHOR not in site.state
    assert torch.equal(*ends)
    assert not torch.equal(ends[0], start)


def test_anchors_stay_through_the_second_stage(make_site: Any) -> None:
    site = make_site(RCAL(), progress=0.5)
    site.learner.begin(site)
    first = site.state[ANCHOR]
    site.train(site.learner.loss)
    site.progress = 0.6
    site.learner.begin(site)
    assert site.state[ANCHOR] is first
