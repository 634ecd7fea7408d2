"""M3I: mixed images, each target's formula with hand-sized numbers, and the slow copy."""

from __future__ import annotations

from typing import Any

import few_images
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fedlt
from fedlt.blocks.parts import Patched, patched
from fedlt.blocks.priors import log_prior
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learners.m3i import M3I, SLOW, covered_error
from fedlt.nn.net import Net

TASK = Task("single", 2, (3, 4, 4))


def site_of(make_client: Any, learner: M3I, **fields: Any) -> Site:
    site = few_images.site_of(make_client, learner, 5, **fields)
    site.task = TASK
    site.trainer.batch = lambda site, rows: site.data.batch(rows)  # type: ignore[method-assign]
    site.model.eval()
    learner.begin(site)
    return site


def test_cells_show_another_image_and_labels_follow() -> None:
    """Images of 4 x 8 pixels whose values are their numbers, in a grid of four by four."""
    x = torch.arange(64.0)[:, None, None, None].expand(64, 1, 4, 8)
    found = patched(Batch(x, torch.arange(64), torch.arange(64)), np.random.default_rng(0), 0.25, 4)
    cells = found.x[:, :, :, ::2]
    assert torch.equal(found.x[..., 1::2], cells)
    other = found.order.view(-1, 1, 1, 1).float()
    assert torch.equal(cells, torch.where(found.covered, other, x[..., ::2]))
    assert found.share.tolist() == (1 - found.covered.float().mean((1, 2, 3))).tolist()
    assert found.share.mean().item() == pytest.approx(0.75, abs=0.03)
    assert torch.equal(found.other, found.order) and sorted(found.order.tolist()) == list(range(64))


def test_the_image_target_by_hand() -> None:
    """Similarities over T: (2, 0) and (1.2, 1.6); the first sample is 3/4 its own, the second all."""
    z = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    targets, order = torch.eye(2), torch.tensor([1, 0])
    mixed = Patched(z, order, order, torch.tensor([0.75, 1.0]), order, order)
    for entropy in (0.0, 0.5, 1.0):
        first = entropy * np.log(np.exp(2) + 1) - 0.75 * 2
        second = entropy * np.log(np.exp(1.2) + np.exp(1.6)) - 1.6
        found = M3I(temperature=0.5, entropy=entropy).apart(z, targets, mixed)
        assert found.tolist() == pytest.approx([first, second], rel=1e-5)


def test_only_covered_cells_are_told() -> None:
    """Cells of means 2.5, 4.5, 10.5 and 12.5; of the two that are covered, errors of 1 and 9."""
    x = torch.arange(16.0).view(1, 1, 4, 4)
    told = torch.tensor([[[[3.5, 0.0], [0.0, 9.5]]]])
    covered = torch.tensor([[[[True, False], [False, True]]]])
    assert covered_error(told, x, covered).item() == pytest.approx(5.0)
    assert covered_error(told, x, torch.zeros_like(covered)).item() == 0


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 0.5), (1.0, 2.0, 0.5)])
def test_the_loss_is_the_weighted_sum_of_its_targets(make_client: Any, weights: tuple[float, float, float]) -> None:
    image, label, pixels = weights
    learner = M3I(image=image, label=label, pixels=pixels, tau=0.5)
    site = site_of(make_client, learner)
    site.rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    batch = site.data.batch(torch.arange(6))
    mixed = patched(batch, twin, 0.25, 8)
    features, expected = site.model.encode(mixed.x), torch.zeros(())
    if label:
        expected = expected + label * mixed.cross_entropy(
            site.model.head(features) + 0.5 * log_prior(site.class_counts)
        )
    if image:
        z, targets = (F.normalize(site.model.projection(each)) for each in (features, site.model.encode(batch.x)))
        expected = expected + image * learner.apart(z, targets, mixed).mean()
    if pixels:
        told = site.model.pixels(features).view(6, 3, 8, 8)
        expected = expected + pixels * covered_error(told, batch.x, mixed.covered)
    assert learner.loss(site, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert site.trainer.work.forward_samples == (6 if image else 0)


def test_the_slow_copy_follows_the_model(make_client: Any) -> None:
    """By a tenth of the way a step, in training alone; a client's is that of the model that it was sent."""
    learner = M3I(momentum=0.9)
    site = site_of(make_client, learner, continuous=True)
    before = site.state[SLOW].clone()
    with torch.no_grad():
        site.flat.shared.add_(1.0)
    batch = site.data.batch(torch.arange(6))
    targets = learner.slow(site, batch)
    assert torch.equal(site.state[SLOW], before)
    site.model.train()
    assert torch.equal(learner.slow(site, batch), targets)
    assert torch.allclose(site.state[SLOW], before + 0.1)
    assert not torch.allclose(learner.slow(site, batch), targets)

    learner.begin(site)
    assert torch.allclose(site.state[SLOW], before + 0.19)
    site.continuous = False
    learner.begin(site)
    assert torch.equal(site.state[SLOW], site.flat.shared)


def test_the_head_is_trained_on_features_in_the_end(make_client: Any) -> None:
    learner = M3I(classifier_share=0.5)
    site = site_of(make_client, learner, progress=0.5, span=0.1)
    assert (site.stage.name, site.stage.encoded, SLOW in site.state) == ("classifier", True, False)
    batch = site.data.batch(torch.arange(6))
    expected = F.cross_entropy(site.model(batch.x), batch.y)
    assert learner.loss(site, batch).item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"image": 0.0, "label": 0.0, "pixels": 0.0}, r"learner\.label: there is no target"),
        ({"mix": 0.0}, r"learner\.pixels: with mix=0 no pixel is covered; say pixels=0"),
    ],
)
def test_what_has_no_meaning_is_refused(keys: dict[str, float], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        M3I(**keys).build(Net(nn.Identity(), nn.Linear(2, 2), 2), TASK)


def test_it_runs_inside_fedavg(tiny: dict[str, Any], tmp_path: Any) -> None:
    run = fedlt.run(tiny, "learner=m3i", out=tmp_path, backend="inline")
    assert run.summary["forward_samples"] > 0
