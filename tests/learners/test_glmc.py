"""GLMC: two mixtures of the same images, two heads, and the weight that moves from one to the other."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from few_images import PIXELS, Y, site_of
from numpy.typing import NDArray
from torch import nn

from fedlt.blocks.mixing import box
from fedlt.blocks.priors import power_weights
from fedlt.data.samplers import draw, power_shares
from fedlt.data.site import Site
from fedlt.learners.glmc import GLMC, disagreement, mixed_loss

Array = NDArray[np.float64]
COUNTS = np.array([4, 2])


@pytest.fixture
def make_site(make_client: Any) -> Any:
    return partial(site_of, make_client, features=5)


@pytest.mark.parametrize(("epoch", "weight"), [(0, 1.0), (100, 0.75), (199, 0.009975)])
def test_the_first_heads_weight_is_that_of_the_authors_code(epoch: int, weight: float) -> None:
    assert GLMC().first_weight(epoch / 200) == pytest.approx(weight, abs=1e-9)


def test_class_weights_by_hand() -> None:
    """4 and 1 samples, to the power -1/2: 1/2 and 1, scaled to the mean 1; an absent class has none."""
    assert power_weights(torch.tensor([4, 1, 0]), -0.5).tolist() == pytest.approx([2 / 3, 4 / 3, 0])
    assert power_weights(torch.tensor([4, 1]), 0.0).tolist() == [1, 1]


def test_a_box_is_as_large_as_what_is_not_left() -> None:
    rng = np.random.default_rng(0)
    boxes = [box(40, 80, 0.75, rng) for _ in range(300)]
    sizes = {(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in boxes}
    assert max(sizes) == (20, 40)  # half of either side: a quarter of the image
    assert len(sizes) > 20  # the edges cut others off
    whole = box(8, 8, 1.0, rng)
    assert all(part.start == part.stop for part in whole)


def test_labels_of_a_mixture_by_hand() -> None:
    """Logits 0 and log 3: probabilities 1/4 and 3/4. Three quarters of class 0 and a quarter of class 1."""
    logits = torch.tensor([[1.0, 3.0]]).log()
    pairs = torch.tensor([0]), torch.tensor([1])
    assert float(mixed_loss(logits, pairs, 0.75)) == pytest.approx(0.75 * np.log(4) + 0.25 * np.log(4 / 3))
    weighted = mixed_loss(logits, pairs, 0.75, torch.tensor([0.5, 2.0]))
    assert float(weighted) == pytest.approx(0.5 * 0.75 * np.log(4) + 2 * 0.25 * np.log(4 / 3))


def test_mixtures_that_agree_have_the_least_and_the_target_is_a_constant() -> None:
    """At right angles, with lengths 3 and 2: the slopes are -1/3 and -1/2, and twice that if the targets moved, too."""
    one = torch.tensor([[3.0, 0.0]], requires_grad=True)
    other = torch.tensor([[0.0, 2.0]], requires_grad=True)
    assert float(disagreement([one, one], nn.Identity()).detach()) == pytest.approx(-2)
    disagreement([one, other], nn.Identity()).backward()
    assert one.grad is not None
    assert other.grad is not None
    assert one.grad[0].tolist() == pytest.approx([0, -1 / 3], abs=1e-6)
    assert other.grad[0].tolist() == pytest.approx([-1 / 2, 0], abs=1e-6)


def parts_of(site: Site, features: Array) -> tuple[Array, Array, Array, Array]:
    """Log-probabilities of both heads, representations, and predictions from these."""

    def linear(name: str, x: Array) -> Array:
        weight, bias = (site.model.get_parameter(f"{name}.{n}").detach().double().numpy() for n in ("weight", "bias"))
        return x @ weight.T + bias  # type: ignore[no-any-return]

    def log_softmax(scores: Array) -> Array:
        return scores - np.log(np.exp(scores).sum(1, keepdims=True))  # type: ignore[no-any-return]

    hidden = linear("backbone.1", features.reshape(6, 48))
    z = linear("projection", hidden)
    return log_softmax(linear("first_head", hidden)), log_softmax(linear("head", hidden)), z, linear("predictor", z)


def cosines(a: Array, b: Array) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


def test_the_loss_by_hand(make_site: Any) -> None:
    learner = GLMC(consistency=0.6, label_power=0.5, draw_power=0.7, alpha=0.8, projection=3)
    site = make_site(learner, progress=0.6, span=0.0)
    site.rng = np.random.default_rng(4)
    found = float(learner.loss(site, site.data.batch(torch.arange(6))).detach())
    assert site.trainer.work.backward_samples == 6  # the loop counts the other mixture

    rng = site.rng = np.random.default_rng(4)
    share = rng.beta(0.8, 0.8)
    others = draw(site, power_shares(COUNTS, 0.3), 6)
    images = PIXELS.transpose(0, 3, 1, 2) / 255
    rows, columns = box(4, 4, share, rng)
    assert 0 < (rows.stop - rows.start) * (columns.stop - columns.start) < 16
    cut = images.copy()
    cut[..., rows, columns] = images[others][..., rows, columns]
    mixed = share * images + (1 - share) * images[others]

    raw = COUNTS**-0.5
    weights = raw / raw.mean()
    first = second = 0.0
    seen = [parts_of(site, each) for each in (mixed, cut)]
    for plain, weighted, _, _ in seen:
        for part, y in ((share, Y), (1 - share, Y[others])):
            first -= part * plain[np.arange(6), y].mean()
            second -= part * (weights[y] * weighted[np.arange(6), y]).mean()
    apart = -cosines(seen[0][3], seen[1][2]) - cosines(seen[1][3], seen[0][2])
    assert found == pytest.approx(0.64 * first + 0.36 * second + 0.6 * apart, rel=1e-4)


def test_the_second_head_alone_predicts(make_site: Any) -> None:
    site = make_site(GLMC())
    x = site.data.x()
    with torch.no_grad():
        before = site.learner.predict(site.model, x).clone()
        site.model.get_parameter("first_head.weight").add_(5.0)
        assert torch.equal(site.learner.predict(site.model, x), before)
        site.model.get_parameter("head.weight").mul_(5.0)
        assert not torch.equal(site.learner.predict(site.model, x), before)


@pytest.mark.parametrize(("progress", "moved"), [(0.0, ["first_head"]), (0.5, ["first_head", "head"])])
def test_the_second_heads_part_grows_from_nothing(make_site: Any, progress: float, moved: list[str]) -> None:
    site = make_site(GLMC(), progress=progress, span=0.0)
    site.learner.loss(site, site.data.batch(torch.arange(6))).backward()
    slopes = {name: site.model.get_parameter(f"{name}.weight").grad.norm() for name in ("first_head", "head")}
    assert [name for name, slope in slopes.items() if slope > 1e-6] == moved
