"""Two views, contrastive losses, and subclasses of equal size: the blocks, and SBCL, against arithmetic in NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from few_images import Y, site_of
from numpy.typing import NDArray
from torch import nn

from fedlt.blocks.clusters import balanced, fill, subclasses
from fedlt.blocks.contrast import contrastive, own_view
from fedlt.data.inputs.strong import recolour, zoomed
from fedlt.data.site import Rows, Site
from fedlt.data.task import Task
from fedlt.learners.sbcl import HEAT, ROUND, SBCL, SUBCLASS, width
from fedlt.nn.net import Net


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def by_hand(z: NDArray[Any], positives: Any, rivals: Any, heat: Any) -> NDArray[Any]:
    """[N] the loss of each anchor, sample by sample; positives(i, j) and rivals(i, j) say who is what."""
    losses = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        near = [j for j in others if positives(i, j)]
        total = sum(np.exp(z[i] @ z[j] / heat[i]) for j in others if rivals(i, j))
        losses.append(-np.mean([np.log(np.exp(z[i] @ z[j] / heat[i]) / total) for j in near]) if near else 0.0)
    return np.array(losses)


# Contrast -------------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_positives_of_a_log_share_of_the_rivals() -> None:
    rng = np.random.default_rng(1)
    z, heat = unit(rng.normal(size=(5, 3))), rng.uniform(0.2, 1.0, 5)
    positives, rivals = rng.random((5, 5)) < 0.4, rng.random((5, 5)) < 0.8
    rivals |= positives
    positives[4] = False
    found = contrastive(*map(torch.as_tensor, (z, positives, heat, rivals)))
    expected = by_hand(z, lambda i, j: positives[i, j], lambda i, j: rivals[i, j], heat)
    assert found.numpy() == pytest.approx(expected, rel=1e-9)
    assert (expected[:4] > 0).all()
    assert found[4] == 0
    everyone = contrastive(torch.as_tensor(z), torch.as_tensor(positives), 0.5)
    assert everyone.numpy() == pytest.approx(
        by_hand(z, lambda i, j: positives[i, j], lambda i, j: True, np.full(5, 0.5)), rel=1e-9
    )


def test_the_gradient_is_finite_where_an_anchor_has_no_positive() -> None:
    z = torch.eye(3, requires_grad=True)
    contrastive(z, torch.zeros(3, 3, dtype=torch.bool), 0.1).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_a_batch_of_one_class_still_teaches() -> None:
    """Two samples of one class at right angles, both views alike: among the three others of an anchor, one lies on it.

    Where rivals are of other classes only, as in another library, there is none and the loss is 0.
    """
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 2, requires_grad=True)
    found = contrastive(z, torch.ones(4, 4, dtype=torch.bool), 1.0)
    assert found.tolist() == pytest.approx([np.log(np.e + 2) - 1 / 3] * 4)
    found.sum().backward()
    assert z.grad is not None
    assert (z.grad.norm(dim=1) > 0.1).all()

    point = torch.tensor([[1.0, 0.0]]).expand(4, 2)  # a class that has fallen onto a point: no lower loss exists
    assert contrastive(point, torch.ones(4, 4, dtype=torch.bool), 1.0).tolist() == pytest.approx([np.log(3)] * 4)


def test_a_batch_of_one_sample_has_nothing_to_contrast_with() -> None:
    """Its other view is the only one among its rivals: loss and gradient are 0, and finite."""
    z = torch.tensor([[1.0, 0.0], [0.6, 0.8]], requires_grad=True)
    found = contrastive(z, own_view(2, z.device), 0.1)
    found.sum().backward()
    assert found.tolist() == [0.0, 0.0]
    assert z.grad is not None
    assert z.grad.tolist() == [[0.0, 0.0]] * 2


def test_the_two_views_of_a_sample_lie_a_batch_apart() -> None:
    assert own_view(6, torch.device("cpu")).nonzero().tolist() == [[0, 3], [1, 4], [2, 5], [3, 0], [4, 1], [5, 2]]


# Strong augmentation --------------------------------------------------------------------------------------------------


def test_a_zoomed_gradient_stays_a_gradient_and_gets_flatter_or_turns() -> None:
    """A crop of a plane is a plane with smaller slopes, mirrored or not, and reaches no value beyond the image's."""
    ramp = torch.arange(16.0).expand(200, 1, 16, 16)
    found = zoomed(ramp, torch.Generator().manual_seed(0))
    slopes = (found[..., 1:] - found[..., :-1])[:, 0, :, 4:10]  # off the border, which is repeated
    assert torch.allclose(slopes, slopes[:, :1, :1], atol=1e-4)
    steep = slopes[:, 0, 0]
    assert 0.3 < steep.abs().min() < steep.abs().max() <= 1.0001
    assert 60 < int((steep < 0).sum()) < 140
    assert found.min() >= 0
    assert found.max() <= 15


def test_colours_change_and_some_images_turn_gray() -> None:
    x = torch.rand(400, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 255
    found = x.clone()
    recolour(found, 255.0, torch.Generator().manual_seed(1))
    gray = (found.amax(1) - found.amin(1)).amax((1, 2)) < 1e-3
    kept = (found - x).abs().amax((1, 2, 3)) < 1e-3
    assert 0.15 < gray.float().mean() < 0.25
    assert 0.1 < kept.float().mean() < 0.22  # a fifth, of which a fifth is gray
    assert found.min() >= 0
    assert found.max() <= 255


# Subclasses -----------------------------------------------------------------------------------------------------------


def test_a_full_cluster_sends_the_next_best_sample_away() -> None:
    """Three samples prefer the first cluster, which has room for two: the least similar goes to the second."""
    similarity = np.array([[0.9, 0.1], [0.8, 0.7], [0.7, 0.2], [0.1, 0.5]])
    assert fill(similarity, 2).tolist() == [0, 0, 1, 1]
    assert fill(similarity, 4).tolist() == [0, 0, 0, 1]


def test_clusters_are_found_and_of_equal_size() -> None:
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(3), 8)
    features = unit(np.eye(3)[true] + 0.1 * rng.normal(size=(24, 3))).astype(np.float32)
    found = balanced(features, 3, rng)
    assert len({(a, b) for a, b in zip(true.tolist(), found.tolist(), strict=True)}) == 3
    lopsided = balanced(unit(np.eye(2)[[0] * 9 + [1]] + 0.1 * rng.normal(size=(10, 2))).astype(np.float32), 2, rng)
    assert np.bincount(lopsided).tolist() == [5, 5]


def test_a_class_has_as_many_subclasses_as_the_smallest_size_goes_into_it() -> None:
    labels = np.repeat([0, 1, 2], [25, 12, 4])
    features = unit(np.random.default_rng(0).normal(size=(41, 5))).astype(np.float32)

    def numbers(least: int) -> list[int]:
        found = subclasses(features, labels, least, np.random.default_rng(0))
        assert len(np.unique(found)) == found.max() + 1
        return [len(np.unique(found[labels == label])) for label in range(3)]

    assert numbers(1) == [6, 3, 1]  # the smallest class, 4
    assert numbers(10) == [2, 1, 1]
    assert numbers(100) == [1, 1, 1]


def test_wide_classes_are_clipped_and_relative_to_the_mean() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([5, 4, 0, 3, 6])
    labels = np.repeat(np.arange(5), counts)
    z = unit(rng.normal(size=(18, 3)) * np.array([3, 1, 1, 0.1, 1])[labels][:, None] + 1)
    phi = []
    for label in (0, 1, 3, 4):
        mine = z[labels == label]
        phi.append(np.linalg.norm(mine - mine.mean(0), axis=1).mean() / np.log(len(mine) + 10))
    clipped = np.clip(phi, *np.quantile(phi, (0.2, 0.8)))
    assert (clipped != phi).sum() == 2
    expected = np.insert(clipped / clipped.mean(), 2, 1.0)
    found = width(torch.as_tensor(z).float(), torch.as_tensor(labels), torch.as_tensor(counts))
    assert found.numpy() == pytest.approx(expected, rel=1e-5)
    points = torch.eye(2)[[0, 0, 0, 1, 1]]  # both classes have fallen onto a point each
    assert width(points, torch.tensor([0, 0, 0, 1, 1]), torch.tensor([3, 2])).tolist() == pytest.approx([0.1, 0.1])


# SBCL -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_site(make_client: Any) -> Any:
    return partial(site_of, make_client, features=5)


def views(site: Site) -> tuple[float, NDArray[Any]]:
    """The loss of the whole data, and the unit vectors that it saw."""
    seen: list[torch.Tensor] = []
    hook = site.model.get_submodule("projection").register_forward_hook(lambda m, i, output: seen.append(output))
    site.generator = torch.Generator().manual_seed(3)
    batch = site.trainer.batch(site, torch.arange(6))
    value = float(site.learner.loss(site, batch).detach())
    hook.remove()
    return value, unit(seen[0].detach().double().numpy())


def test_subclasses_are_drawn_together_and_classes_more_weakly(make_site: Any) -> None:
    site = make_site(SBCL(temperature=0.5, gamma=0.3))
    part, heat = np.array([0, 0, 0, 1, 2, 2]), np.array([0.8, 0.5])
    site.state |= {SUBCLASS: torch.as_tensor(part), HEAT: torch.as_tensor(heat).float()}
    found, z = views(site)
    assert z.shape == (12, 128)
    y, sub = np.tile(Y, 2), np.tile(part, 2)

    def own(i: int, j: int) -> bool:
        return abs(i - j) == 6

    near = by_hand(z, lambda i, j: sub[i] == sub[j], lambda i, j: True, np.full(12, 0.5))
    far = by_hand(
        z,
        lambda i, j: own(i, j) or (y[i] == y[j] and sub[i] != sub[j]),
        lambda i, j: own(i, j) or sub[i] != sub[j],
        heat[y],
    )
    assert found == pytest.approx((0.5 / 0.07 * near + 0.3 * far).mean(), rel=1e-4)
    assert site.trainer.work.backward_samples == 6  # of the second view; the loop counts the first


def test_without_subclasses_it_is_supervised_contrast(make_site: Any) -> None:
    """With weight one in the warm-up, as in the official code, and T / .07 once there are subclasses."""
    plain, z = views(make_site(SBCL(temperature=0.5)))
    y = np.tile(Y, 2)
    expected = by_hand(z, lambda i, j: y[i] == y[j], lambda i, j: True, np.full(12, 0.5)).mean()
    assert plain == pytest.approx(expected, rel=1e-4)
    whole = make_site(SBCL(temperature=0.5, gamma=0.0, least=100))
    whole.learner.begin(whole)
    assert SUBCLASS not in whole.state  # in the warm-up
    whole.progress = 0.5
    whole.learner.begin(whole)
    assert whole.state[SUBCLASS].tolist() == Y.tolist()
    assert views(whole)[0] == pytest.approx(0.5 / 0.07 * plain, rel=1e-6)


@pytest.mark.parametrize("part", [None, [0, 0, 0, 0, 1, 1], [0, 0, 2, 2, 1, 1]])
def test_a_batch_of_one_class_trains_sbcl(make_site: Any, part: list[int] | None) -> None:
    """Four images of class 0: in the warm-up, as one subclass, and as two."""
    site = make_site(SBCL(temperature=0.5, gamma=0.3))
    if part is not None:
        site.state |= {SUBCLASS: torch.tensor(part), HEAT: torch.tensor([0.8, 0.5])}
    seen: list[torch.Tensor] = []
    site.model.get_submodule("projection").register_forward_hook(lambda m, i, output: seen.append(output))
    site.generator = torch.Generator().manual_seed(3)
    value = site.learner.loss(site, site.trainer.batch(site, torch.arange(4)))
    z = unit(seen[0].detach().double().numpy())
    sub = np.tile((part or [0] * 4)[:4], 2)

    near = by_hand(z, lambda i, j: sub[i] == sub[j], lambda i, j: True, np.full(8, 0.5))
    others = by_hand(
        z, lambda i, j: abs(i - j) == 4 or sub[i] != sub[j], lambda i, j: abs(i - j) == 4 or sub[i] != sub[j],
        np.full(8, 0.8),
    )  # fmt: skip
    expected = (0.5 / 0.07 * near + 0.3 * others if part else near).mean()  # the warm-up's contrast has weight one
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert value.item() > 1
    value.backward()
    assert site.model.get_parameter("backbone.1.weight").grad.norm() > 0


def test_a_site_of_one_class_is_clustered_without_a_width_to_compare(make_site: Any) -> None:
    site = make_site(SBCL(warmup=0.0, least=2), progress=0.5)
    site.data = Rows(site.data.inputs, torch.zeros(6, dtype=torch.long), site.data.index)
    site.class_counts = torch.tensor([6, 0])
    site.learner.begin(site)
    assert site.state[SUBCLASS].unique().tolist() == [0]  # as large as the smallest class, which it is
    assert site.state[HEAT].tolist() == pytest.approx([site.learner.temperature] * 2)


def test_views_are_clustered_where_that_is_asked_for(make_site: Any) -> None:
    seen: dict[str, torch.Tensor] = {}
    for clusters in ("plain", "augmented"):
        site = make_site(SBCL(warmup=0.0, least=2, clusters=clusters), progress=0.5)
        hook = site.model.backbone.register_forward_hook(
            lambda m, inputs, output, at=clusters: seen.update({at: inputs[0]})
        )
        site.learner.begin(site)
        hook.remove()
        assert (site.trainer.work.forward_samples, site.trainer.work.backward_samples) == (6, 0)
    assert torch.equal(seen["plain"], site.data.x())
    changed = (seen["augmented"] != seen["plain"]).flatten(1).any(1)
    assert changed.float().mean() > 0.5


def test_clusters_are_found_anew_every_so_many_rounds(make_site: Any) -> None:
    site = make_site(SBCL(warmup=0.25, every=3, least=2))
    found = []
    for progress in np.arange(9) / 10:
        site.progress = progress
        site.learner.begin(site)
        found.append(int(site.state[ROUND]) if ROUND in site.state else None)
    assert found == [None, None, 2, 2, 2, 5, 5, 5, 5]  # the classifier's stage begins in round 8
    assert site.trainer.work.forward_samples == 12
    assert len(site.state[SUBCLASS].unique()) == 3
    assert site.state[HEAT][1] == site.learner.temperature  # the class that is not split
    assert site.state[HEAT][0] != site.learner.temperature


def test_the_first_stage_leaves_the_head_alone_and_the_second_the_rest(make_site: Any) -> None:
    site = make_site(SBCL(least=2))
    start = {name: tensor.clone() for name, tensor in site.flat.tensors.items()}
    for progress, moved in (
        (0.5, {"backbone.1.weight", "projection.0.weight", "projection.2.weight"}),
        (0.8, {"head.weight"}),
    ):
        site.progress = progress
        site.learner.begin(site)
        site.train(site.learner.loss)
        now = site.flat.tensors
        assert {name for name in now if name.endswith("weight") and not torch.equal(now[name], start[name])} == moved
        start = {name: tensor.clone() for name, tensor in now.items()}


def test_views_need_images() -> None:
    with pytest.raises(ValueError, match="two views of a sample need images"):
        SBCL().build(Net(nn.Linear(4, 6), nn.Linear(6, 3), 6), Task("single", 3, (4,)))
