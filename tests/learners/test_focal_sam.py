"""Focal-SAM: the shares by hand, one step against PyTorch's own gradients, and what is left of it when it is off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import fedlt
from fedlt.blocks.sharpness import uphill
from fedlt.config.sections import Local
from fedlt.data.site import Batch, Site
from fedlt.learners.focal_sam import FocalSAM
from fedlt.nn.net import Net

COUNTS = np.array([6, 3, 1])
Y = np.repeat(np.arange(3), COUNTS)
X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


def net() -> Net:
    torch.manual_seed(0)
    return Net(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), nn.Linear(5, 3), 5)


@pytest.fixture
def make_site(make_client: Any) -> Any:
    def make(learner: FocalSAM, model: Net | None = None) -> Site:
        local = Local(epochs=1, batch_size=10, lr=0.1)
        found: Site = make_client(model or net(), X, Y, local, learner=learner)
        return found

    return make


def test_shares_are_those_of_the_authors_code(make_site: Any) -> None:
    """Counts 100, 10 and 1 of 111: half of (11/111)^3, (101/111)^3 and (110/111)^3."""
    site = make_site(FocalSAM())
    site.class_counts = torch.tensor([100, 10, 1], dtype=torch.float64)
    assert site.learner.shares(site).tolist() == pytest.approx([0.000487, 0.376674, 0.486608], abs=1e-6)


def losses(model: Net) -> torch.Tensor:
    logits = model(torch.as_tensor(X)) + torch.as_tensor(np.log(COUNTS / 10)).float()
    return F.cross_entropy(logits, torch.as_tensor(Y), reduction="none")


def test_the_tails_part_of_the_loss_is_taken_uphill_and_the_rest_here(make_site: Any) -> None:
    """w - lr (grad of mean (1 - k) l at w + grad of mean k l at w + rho g / ||g||), by PyTorch's own gradients."""
    site, twin = make_site(FocalSAM(rho=0.7, gamma=2.0, sharpness=0.8)), net()
    site.train(site.learner.loss)

    share = torch.as_tensor(0.8 * (1 - COUNTS / 10) ** 2)[Y].float()
    weights = [p.detach().clone() for p in twin.parameters()]
    rest = torch.autograd.grad(((1 - share) * losses(twin)).mean(), list(twin.parameters()))
    slopes = torch.autograd.grad((share * losses(twin)).mean(), list(twin.parameters()))
    plain = [a + b for a, b in zip(rest, slopes, strict=True)]
    norm = torch.cat([g.flatten() for g in slopes]).norm()
    with torch.no_grad():
        for p, g in zip(twin.parameters(), slopes, strict=True):
            p += 0.7 * g / norm
    above = torch.autograd.grad((share * losses(twin)).mean(), list(twin.parameters()))

    for found, w, a, b, descent in zip(site.model.parameters(), weights, rest, above, plain, strict=True):
        assert torch.allclose(found, w - 0.1 * (a + b), atol=1e-6)
        assert not torch.allclose(found, w - 0.1 * descent, atol=1e-4)
    assert site.trainer.work.backward_samples == 20


@pytest.mark.parametrize(
    ("plain", "off"),
    [("logit_adjustment", "learner.sharpness=0"), ("cross_entropy", "learner={name: focal_sam, sharpness: 0, tau: 0}")],
)
def test_without_sharpness_it_is_plain_descent_bit_for_bit(
    tiny: dict[str, Any], plain: str, off: str, tmp_path: Path
) -> None:
    def model(*overrides: str) -> dict[str, torch.Tensor]:
        small = "local.momentum=0.9", "local.weight_decay=0.001", "evaluation.every=2"
        run = fedlt.run(tiny, "strategy=fedprox", *small, *overrides, out=tmp_path, backend="inline")
        return load_file(run.folder / "model.safetensors")

    found, expected = model("learner=focal_sam", off), model(f"learner={plain}")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    on = model("learner=focal_sam")
    assert not all(torch.equal(on[name], expected[name]) for name in expected)


def test_what_a_strategy_adds_to_the_loss_is_taken_here(make_site: Any) -> None:
    """A term whose gradient is w, as FedProx has one: uphill, it would be another."""
    learner = FocalSAM(rho=0.7)
    bare, with_term = make_site(learner), make_site(learner)
    start = bare.flat.storage.clone()

    def loss(site: Site, batch: Batch) -> torch.Tensor:
        term = sum(p.square().sum() for p in site.model.parameters()) / 2
        return learner.loss(site, batch) + term

    bare.train(learner.loss)
    with_term.train(loss)
    assert torch.allclose(with_term.flat.storage, bare.flat.storage - 0.1 * start, atol=1e-6)


def test_running_statistics_move_once_a_step(make_site: Any) -> None:
    found = []
    for sharpness in (0.5, 0.0):
        torch.manual_seed(0)
        model = Net(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)), nn.Linear(5, 3), 5)
        make_site(FocalSAM(sharpness=sharpness), model).train(FocalSAM(sharpness=sharpness).loss)
        found.append(model.get_buffer("backbone.1.running_mean").clone())
    assert torch.equal(*found)


def test_a_site_of_one_class_descends_as_if_there_were_no_tail(make_site: Any) -> None:
    """Its share is 0, so that there is no way uphill."""
    site = make_site(FocalSAM())
    site.class_counts = torch.tensor([6, 0, 0])
    batch = site.data.batch(torch.arange(6))
    site.learner.gradient(site, lambda batch: site.learner.loss(site, batch), batch)
    gradients = [p.grad for p in site.model.parameters()]
    value = site.learner.loss(site, batch)
    plain = torch.autograd.grad(value, list(site.model.parameters()))
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(gradients, plain, strict=True))


def test_a_loss_that_never_asks_the_learner_is_refused(make_site: Any) -> None:
    site = make_site(FocalSAM())
    with pytest.raises(ValueError, match=r"needs a loss that asks client\.learner\.loss"):
        site.train(lambda site, batch: site.model(batch.x).square().mean())


def test_the_weights_come_back_from_uphill_also_after_an_error() -> None:
    model = net()
    before = [p.detach().clone() for p in model.parameters()]
    slopes = [(p, torch.ones_like(p)) for p in model.parameters()]
    count = sum(p.numel() for p in model.parameters())
    with pytest.raises(RuntimeError, match="half way"), uphill(model, slopes, 0.5):
        step = 0.5 / count**0.5
        assert all(torch.allclose(p, w + step) for p, w in zip(model.parameters(), before, strict=True))
        raise RuntimeError("half way")
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), before, strict=True))
