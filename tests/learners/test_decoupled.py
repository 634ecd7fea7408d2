"""Learners of a representation first and a classifier after it, H2T, LWS and MiSLAS, against arithmetic in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import fedlt
from fedlt.config.catalog import find
from fedlt.config.sections import Local
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.learners.h2t import H2T, fused
from fedlt.learners.lws import LWS
from fedlt.learners.mislas import MiSLAS, smoothing
from fedlt.nn.net import Net
from fedlt.nn.scaled import ScaledHead

COUNTS = np.array([6, 3, 1])
Y = np.repeat(np.arange(3), COUNTS)
X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
LATE = {"progress": 0.9, "span": 0.1}  # in the second stage


@pytest.fixture
def make_site(make_client: Any) -> Any:
    """A site with 6, 3 and 1 samples of three classes; a linear backbone and a linear head."""

    def make(learner: Learner, **fields: Any) -> Site:
        torch.manual_seed(0)
        net = Net(nn.Linear(4, 4), nn.Linear(4, 3), 4)
        learner.build(net, Task("single", 3, (4,)))
        local = Local(epochs=1, batch_size=5, lr=0.1)
        return make_client(net, X, Y, local, learner=learner, **fields)  # type: ignore[no-any-return]

    return make


def whole(site: Site) -> Batch:
    return site.data.batch(torch.arange(10))


def trained(tiny: dict[str, Any], out: Path, *overrides: str) -> dict[str, torch.Tensor]:
    """The generic model's tensors after five rounds, the last of which is of the second stage."""
    chosen = ["federation.rounds=5", "evaluation.every=5", *overrides]
    return load_file(fedlt.run(tiny, *chosen, out=out, backend="inline").folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# H2T ------------------------------------------------------------------------------------------------------------------


def test_a_share_of_the_channels_is_the_others() -> None:
    """0.7 of four channels are two whole ones, the same for both samples; which, the generator says."""
    features, others = torch.zeros(2, 4), torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    rng, drawn = np.random.default_rng(1), set()
    for _ in range(40):
        found = fused(features, others, 0.7, rng)
        taken = found.any(0)
        assert int(taken.sum()) == 2
        assert torch.equal(found[:, taken], others[:, taken])
        drawn.add(tuple(taken.tolist()))
    assert len(drawn) == 6  # all pairs
    assert torch.equal(fused(features, others, 1.0, rng), others)
    assert torch.equal(fused(features, others, 0.2, rng), features)  # less than one channel


def test_h2t_by_hand(make_site: Any) -> None:
    site = make_site(H2T(rho=0.5), **LATE)
    twin = np.random.default_rng(3)
    partners, taken = twin.integers(10, size=10), np.isin(np.arange(4), twin.permutation(4)[:2])
    with torch.no_grad():
        features = site.model.encode(torch.as_tensor(X)).double().numpy()
    mixed = np.where(taken, features[partners], features)
    head = site.model.head
    logits = mixed @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy()
    expected = (np.log(np.exp(logits).sum(1)) - logits[np.arange(10), Y]).mean()  # labels are those of the draws
    site.rng = np.random.default_rng(3)
    assert float(site.learner.loss(site, whole(site)).detach()) == pytest.approx(expected, rel=1e-5)


def test_h2ts_partners_are_drawn_as_the_data_are_and_pass_forward_only(make_site: Any) -> None:
    site = make_site(H2T(), **LATE)
    drawn: list[np.ndarray[Any, Any]] = []
    batch = site.batch
    site.batch = lambda positions: drawn.append(positions) or batch(positions)
    for _ in range(60):
        site.train(site.learner.loss)
    assert (Y[np.concatenate(drawn)] == 2).mean() == pytest.approx(0.1, abs=0.04)
    assert (Y[site.positions(3000)] == 2).mean() == pytest.approx(1 / 3, abs=0.04)
    work = site.trainer.work
    assert (work.backward_samples, work.forward_samples) == (0, 60 * 20)  # each sample and its partner


@pytest.mark.parametrize("strategy", ["centralized", "fedavg"])
def test_h2t_without_its_fusion_is_crt_bit_for_bit(tiny: dict[str, Any], tmp_path: Path, strategy: str) -> None:
    crt, off, on = (
        trained(tiny, tmp_path, f"strategy={strategy}", f"learner={learner}")
        for learner in ("crt", "{name: h2t, rho: 0}", "h2t")
    )
    assert same(off, crt)
    assert not same(on, crt)
    assert torch.equal(on["backbone.1.weight"], crt["backbone.1.weight"])  # the first stage is the same


def test_h2t_fuses_features_that_are_computed_once(make_site: Any) -> None:
    """Without augmentation the same training, and each sample passes the backbone once, its partner not at all."""
    ends = []
    for cached in (False, True):
        site = make_site(H2T(rho=0.5, cached=cached), **LATE)
        data = site.data
        site.train(site.learner.loss)
        assert site.data is data
        ends.append((site.flat.storage.clone(), site.trainer.work.forward_samples))
    (plain, passed), (cached_end, cached_passed) = ends
    assert torch.allclose(plain, cached_end, atol=1e-6)
    assert (passed, cached_passed) == (20, 10)


# LWS ------------------------------------------------------------------------------------------------------------------


def test_scales_multiply_the_whole_logits() -> None:
    """2 (3 + 1) = 8 and -1 (5 + 2) = -7: the bias is scaled, too."""
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0], [5.0]]))
        head.bias.copy_(torch.tensor([1.0, 2.0]))
        found = ScaledHead(head)
        assert torch.equal(found(torch.ones(1, 1)), head(torch.ones(1, 1)))
        found.scale.copy_(torch.tensor([2.0, -1.0]))
        assert found(torch.ones(1, 1)).tolist() == [[8.0, -7.0]]


@pytest.mark.parametrize("cached", [False, True])
def test_lws_learns_the_scales_alone_on_balanced_draws(make_site: Any, cached: bool) -> None:
    moved = {}
    for progress in (0.0, 0.9):
        site = make_site(LWS(cached=cached), progress=progress, span=0.1)
        before = {name: tensor.clone() for name, tensor in site.flat.tensors.items()}
        site.train(site.learner.loss)
        moved[progress] = {name for name, tensor in site.flat.tensors.items() if not torch.equal(tensor, before[name])}
    assert moved[0.0] == {"backbone.weight", "backbone.bias", "head.weight", "head.bias"}
    assert moved[0.9] == {"head.scale"}
    assert (Y[site.positions(3000)] == 2).mean() == pytest.approx(1 / 3, abs=0.04)


def test_a_step_of_the_scales_by_hand(make_site: Any) -> None:
    """The gradient of scale c is the mean of (p_c - [c = y]) z_c over the batch; the rate is 0.1."""
    site = make_site(LWS(), **LATE)
    site.trainer.local = Local(epochs=1, batch_size=10, lr=0.1)
    with torch.no_grad():
        logits = site.model(torch.as_tensor(X)).double().numpy()
    raised = np.exp(logits)
    slope = ((raised / raised.sum(1, keepdims=True) - np.eye(3)[Y]) * logits).mean(0)
    site.train(site.learner.loss, sampler=lambda site: np.arange(10))
    assert site.model.head.scale.detach().numpy() == pytest.approx(1 - 0.1 * slope, rel=1e-5)


def test_lws_is_cross_entropy_until_its_second_stage(tiny: dict[str, Any], tmp_path: Path) -> None:
    plain = trained(tiny, tmp_path, "federation.rounds=4", "evaluation.every=4")
    scaled = trained(tiny, tmp_path, "learner=lws")
    assert scaled.pop("head.scale").ne(1).any()
    assert scaled.keys() == plain.keys()
    assert all(torch.allclose(scaled[name], plain[name], atol=1e-6) for name in plain)  # a mean of equals rounds


# MiSLAS ---------------------------------------------------------------------------------------------------------------


def test_label_smoothing_by_class_frequency() -> None:
    """0.1 + 0.3 sin(pi / 4) half-way; a class that nobody has counts for neither end."""
    assert smoothing(torch.tensor([100, 55, 10]), 0.4, 0.1).tolist() == pytest.approx([0.4, 0.312132, 0.1])
    assert smoothing(torch.tensor([0, 100, 10]), 0.4, 0.1).tolist() == pytest.approx([0.1, 0.4, 0.1])
    assert smoothing(torch.tensor([7, 7, 0]), 0.4, 0.1).tolist() == pytest.approx([0.1, 0.1, 0.1])


def test_mislas_by_hand(make_site: Any) -> None:
    site = make_site(MiSLAS(smooth_head=0.5, smooth_tail=0.2), **LATE)
    with torch.no_grad():
        site.model.head.scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
        logits = site.model(torch.as_tensor(X)).double().numpy()
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    part = (0.2 + 0.3 * np.sin(np.pi / 2 * np.array([1, 2 / 5, 0])))[Y]  # of 6, 3 and 1 samples
    expected = (-(1 - part) * logs[np.arange(10), Y] - part * logs.mean(1)).mean()
    assert float(site.learner.loss(site, whole(site)).detach()) == pytest.approx(expected, rel=1e-5)


def test_without_smoothing_its_second_loss_is_cross_entropy(make_site: Any) -> None:
    site = make_site(MiSLAS(smooth_head=0.0, smooth_tail=0.0), **LATE)
    expected = nn.functional.cross_entropy(site.model(torch.as_tensor(X)), torch.as_tensor(Y))
    assert float(site.learner.loss(site, whole(site)).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_mislas_first_stage_is_mixup_bit_for_bit(tiny: dict[str, Any], tmp_path: Path) -> None:
    short = "federation.rounds=1", "evaluation.every=1"
    found = trained(tiny, tmp_path, "learner=mislas", *short)
    assert found.pop("head.scale").eq(1).all()
    assert same(found, trained(tiny, tmp_path, "learner=mixup", *short))


def test_its_head_goes_on_at_a_fifth_of_the_scales_rate(make_site: Any) -> None:
    """One step from the same gradients, at a rate of 0.1; the backbone stays, and draws are balanced."""
    site = make_site(MiSLAS(), **LATE)
    site.trainer.local = Local(epochs=1, batch_size=10, lr=0.1)
    before = {name: tensor.clone() for name, tensor in site.flat.tensors.items()}
    site.learner.loss(site, whole(site)).backward()
    slopes = {name: p.grad.clone() for name, p in site.model.named_parameters() if name.startswith("head.")}
    site.train(site.learner.loss, sampler=lambda site: np.arange(10))
    for name, tensor in site.flat.tensors.items():
        step = {"head.weight": 0.02, "head.bias": 0.02, "head.scale": 0.1}.get(name, 0.0)
        assert torch.allclose(tensor, before[name] - step * slopes.get(name, 0.0), atol=1e-6), name
    assert (Y[site.positions(3000)] == 2).mean() == pytest.approx(1 / 3, abs=0.04)


def test_running_statistics_follow_the_balanced_draws_unless_told(tiny: dict[str, Any], tmp_path: Path) -> None:
    """They alone differ in the backbone, whose weights are those of the first stage either way."""
    moving, still = (
        trained(
            tiny, tmp_path, "model={name: resnet8, stem_stride: 4}", f"learner={{name: mislas, statistics: {kind}}}"
        )
        for kind in ("true", "false")
    )
    differing = {name for name in still if name.startswith("backbone.") and not torch.equal(moving[name], still[name])}
    assert differing == {name for name in still if "running_" in name}


@pytest.mark.parametrize("learner", ["crt", "h2t", "lws"])
def test_others_let_them_move_where_told(learner: str) -> None:
    kind = find("learner", learner)
    assert [stage.statistics for stage in kind.create({"statistics": True}).stages()] == [False, True]
    with pytest.raises(ValueError, match="on encoded samples, which move no running statistics"):
        kind.create({"statistics": True, "cached": True}).stages()
