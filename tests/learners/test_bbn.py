"""BBN: its branches, its reverse draws and its loss, against arithmetic in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.samplers import power_shares
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learners.bbn import BBN
from fedlt.nn.cnn import CNN
from fedlt.nn.experts import Experts
from fedlt.nn.net import Net
from fedlt.nn.resnet import ResNet8

COUNTS = np.array([6, 3, 1])
Y = np.repeat(np.arange(3), COUNTS)
X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


@pytest.fixture
def make_site(make_client: Any) -> Any:
    """A site with 6, 3 and 1 samples of three classes; two layers, of which the second is doubled."""

    def make(**fields: Any) -> Site:
        torch.manual_seed(0)
        net = Net(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)), nn.Linear(5, 3), 5)
        BBN().build(net, Task("single", 3, (4,)))
        local = Local(epochs=1, batch_size=10, lr=0.1)
        return make_client(net, X, Y, local, learner=BBN(), **fields)  # type: ignore[no-any-return]

    return make


def whole(site: Site) -> Batch:
    return site.data.batch(torch.arange(10))


def test_reverse_shares_by_hand() -> None:
    """1/100 : 1/10 : 1; an absent class has none."""
    assert power_shares(np.array([100, 10, 1]), -1.0) == pytest.approx([1 / 111, 10 / 111, 100 / 111])
    assert power_shares(np.array([2, 0, 1]), -1.0) == pytest.approx([1 / 3, 0, 2 / 3])


@pytest.mark.parametrize(
    ("model", "own"),
    [(ResNet8(), 32 * 64 * 9 + 64 * 64 * 9 + 4 * 64), (CNN(width=4, hidden=8), 8 * 32 + 8)],
    ids=["last block", "last layer"],
)
def test_the_last_block_is_doubled_and_the_rest_is_shared(model: Any, own: int) -> None:
    torch.manual_seed(0)
    task = Task("single", 10, (1, 8, 8))
    net = model.build(task)
    net.eval()
    alone, dim, plain = sum(p.numel() for p in net.parameters()), net.feature_dim, net.backbone
    x = torch.randn(2, 1, 8, 8)
    before = plain(x)
    BBN().build(net, task)
    net.eval()
    features = net.encode(x)
    assert (net.feature_dim, features.shape) == (2 * dim, (2, 2 * dim))
    assert torch.allclose(features[:, :dim], before, atol=1e-6)  # the first branch is the model as it was
    assert not torch.allclose(features[:, dim:], before, atol=1e-3)
    assert sum(p.numel() for p in net.parameters()) == alone + own + 10 * dim  # its head is twice as wide


@pytest.mark.parametrize(("progress", "share"), [(0.0, 1.0), (0.5, 0.75), (0.995, 0.009975)])
def test_bbn_by_hand(make_site: Any, progress: float, share: float) -> None:
    """At the start of epochs 1, 101 and 200 of 200."""
    site = make_site(progress=progress, span=0.0)
    site.rng, twin = np.random.default_rng(2), np.random.default_rng(2)
    inverse = 1 / COUNTS / (1 / COUNTS).sum()
    drawn = twin.choice(10, 10, p=(inverse / COUNTS)[Y] / (inverse / COUNTS)[Y].sum())
    two = site.model.backbone
    assert isinstance(two, Experts)
    with torch.no_grad():
        x = torch.as_tensor(X)
        plain, rare = two.branches[0](two.stem(x)), two.branches[1](two.stem(x[drawn]))
        features = 2 * torch.cat([share * plain, (1 - share) * rare], 1)
        logits = site.model.head(features).double().numpy()
    nll = [(np.log(np.exp(logits).sum(1)) - logits[np.arange(10), y]).mean() for y in (Y, Y[drawn])]
    expected = share * nll[0] + (1 - share) * nll[1]
    assert float(site.learner.loss(site, whole(site)).detach()) == pytest.approx(expected, rel=1e-5)


def test_the_first_branch_alone_learns_at_first_and_the_second_at_last(make_site: Any) -> None:
    for progress, learning in ((0.0, [True, False]), (0.5, [True, True]), (1.0, [False, True])):
        site = make_site(progress=progress, span=0.0)
        site.learner.loss(site, whole(site)).backward()
        branches = site.model.backbone.branches
        assert [bool(branch[0].weight.grad.abs().sum() > 1e-7) for branch in branches] == learning
        assert site.model.backbone.stem[0].weight.grad.abs().sum() > 0


def test_the_second_branch_sees_mostly_rare_samples(make_site: Any) -> None:
    site = make_site()
    drawn: list[Any] = []
    batch = site.batch
    site.batch = lambda positions: drawn.append(positions) or batch(positions)
    for _ in range(100):
        site.train(site.learner.loss)
    shares = np.bincount(Y[np.concatenate(drawn)], minlength=3) / 1000
    assert shares == pytest.approx((1 / COUNTS) / (1 / COUNTS).sum(), abs=0.05)
    assert site.trainer.work.backward_samples == 2000  # a sample for each branch


def test_predictions_weigh_the_branches_alike(make_site: Any) -> None:
    """With l = 1/2 the features are those of both branches, as they are."""
    site = make_site()
    x = torch.as_tensor(X)
    with torch.no_grad():
        two = site.model.backbone
        both = torch.cat([branch(two.stem(x)) for branch in two.branches], 1)
        expected = site.model.head(both)
        assert torch.allclose(site.learner.predict(site.model, x), expected)


def test_a_model_of_one_layer_has_nothing_to_share() -> None:
    net = Net(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Linear(6, 3), 6)
    with pytest.raises(ValueError, match="at least two layers before its head"):
        BBN().build(net, Task("single", 3, (4,)))


@pytest.mark.parametrize(
    ("layers", "own"),
    [
        ([nn.Linear(4, 6), nn.Linear(6, 5), nn.LayerNorm(5)], [nn.Linear, nn.LayerNorm]),
        ([nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU()], [nn.LayerNorm, nn.ReLU]),
    ],
)
def test_a_normalisation_is_a_branch_only_where_there_is_one_other_layer(layers: list[Any], own: list[Any]) -> None:
    net = Net(nn.Sequential(*layers), nn.Linear(5, 3), 5)
    BBN().build(net, Task("single", 3, (4,)))
    assert [type(part) for part in net.backbone.branches[0]] == own  # type: ignore[index]
