"""Rotations as a task, and pre-training by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.blocks.pretext import rotated
from fedlt.config.sections import Local
from fedlt.data.inputs.pixels import Images
from fedlt.data.site import Rows, Site
from fedlt.data.task import Task
from fedlt.learners.value_of_labels import ValueOfLabels
from fedlt.nn.net import Net

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 3, 1)).astype(np.uint8)


def test_each_image_is_turned_by_its_own_number_of_quarters() -> None:
    x = torch.arange(6 * 2 * 9.0).view(6, 2, 3, 3)
    turned, turns = rotated(x, np.random.default_rng(0))
    assert len(set(turns.tolist())) > 1
    for image, result, quarter in zip(x.numpy(), turned.numpy(), turns.tolist(), strict=True):
        assert np.array_equal(result, np.stack([np.rot90(channel, quarter) for channel in image]))


@pytest.fixture
def site(make_client: Any) -> Site:
    torch.manual_seed(0)
    learner = ValueOfLabels(pretrain=0.5)
    net = Net(nn.Sequential(nn.Flatten(), nn.Linear(9, 4)), nn.Linear(4, 2), 4)
    learner.build(net, Task("single", 2, (1, 3, 3)))
    made = make_client(
        net, np.zeros((6, 1)), [0, 0, 0, 0, 1, 1], Local(epochs=2, batch_size=6, lr=0.1), learner=learner
    )
    inputs = Images(torch.as_tensor(PIXELS), torch.zeros(1), torch.ones(1), channels_last=False)
    made.data, made.span = Rows(inputs, made.data.targets, made.data.index), 0.5
    return made  # type: ignore[no-any-return]


def test_the_first_stage_is_the_cross_entropy_of_the_turns(site: Site) -> None:
    site.rng = np.random.default_rng(5)
    turns = np.random.default_rng(5).integers(4, size=6)
    x = np.stack([np.rot90(image[..., 0], quarter) for image, quarter in zip(PIXELS / 255, turns, strict=True)])
    weights = {name: p.detach().double().numpy() for name, p in site.model.named_parameters()}
    features = x.reshape(6, 9) @ weights["backbone.1.weight"].T + weights["backbone.1.bias"]
    scores = features @ weights["rotation.weight"].T + weights["rotation.bias"]
    expected = (np.log(np.exp(scores).sum(1)) - scores[np.arange(6), turns]).mean()
    found = site.learner.loss(site, site.data.batch(torch.arange(6)))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


def test_labels_are_of_no_account_at_first(site: Site) -> None:
    """With any labels the first stage ends in the same backbone, and it leaves the head alone; the second does not."""
    start, ends = site.flat.storage.clone(), []
    for labels in ([0, 0, 0, 0, 1, 1], [1, 0, 1, 0, 1, 0]):
        site.flat.storage.copy_(start)
        site.rng = np.random.default_rng(1)
        site.data.targets.copy_(torch.tensor(labels))
        site.train(site.learner.loss)
        ends.append({name: tensor.clone() for name, tensor in site.flat.tensors.items()})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    changed = site.flat.storage != start
    head, rotation = (changed[site.flat.segments((f"{part}.weight",))[0]] for part in ("head", "rotation"))
    assert not head.any()
    assert rotation.all()
    site.progress = 0.5
    site.train(site.learner.loss)
    assert not torch.equal(site.flat.tensors["head.weight"], ends[1]["head.weight"])
    assert torch.equal(site.flat.tensors["rotation.weight"], ends[1]["rotation.weight"])


def test_rotations_need_square_images() -> None:
    net = Net(nn.Linear(4, 6), nn.Linear(6, 3), 6)
    with pytest.raises(ValueError, match="need square images"):
        ValueOfLabels().build(net, Task("single", 3, (4,)))
