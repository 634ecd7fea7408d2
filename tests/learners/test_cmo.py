"""CMO and the box that it pastes, against arithmetic in NumPy; without pasting it is cross-entropy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import few_images
import numpy as np
import pytest
import torch
from few_images import Y
from safetensors.torch import load_file

import fedlt
from fedlt.blocks.mixing import pasted
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.site import Batch, Site
from fedlt.errors import ScenarioError
from fedlt.learners.cmo import CMO
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.training.assembly import assemble


def batch_of(value: float, label: int) -> Batch:
    return Batch(torch.full((2, 1, 4, 6), value), torch.full((2,), label), torch.arange(2))


def site_of(make_client: Any, learner: Any, **fields: Any) -> Site:
    return few_images.site_of(make_client, learner, 5, **{"progress": 0.5, **fields})


def test_the_box_and_the_share_that_is_left() -> None:
    """A box of the other batch in each image, at the same place, of an area that the share says."""
    rng, twin, shares = np.random.default_rng(0), np.random.default_rng(0), set()
    for _ in range(50):
        found = pasted(batch_of(0.0, 0), batch_of(1.0, 1), rng, 1.0)
        side = np.sqrt(1 - twin.beta(1.0, 1.0))
        spans = []
        for length in (4, 6):
            half, centre = int(length * side) // 2, int(twin.integers(length))
            spans.append((max(0, centre - half), min(length, centre + half)))
        (top, bottom), (left, right) = spans
        expected = np.zeros((4, 6))
        expected[top:bottom, left:right] = 1
        assert np.array_equal(found.x[0, 0].numpy(), expected)
        assert torch.equal(found.x[0], found.x[1])
        assert found.share == pytest.approx(1 - expected.mean())
        assert (found.y.tolist(), found.other.tolist()) == ([0, 0], [1, 1])
        shares.add(found.share)
    assert 1.0 in shares  # a box of no area leaves the image
    assert min(shares) < 0.7


def test_the_given_images_are_left_as_they_are() -> None:
    one, other = batch_of(0.0, 0), batch_of(1.0, 1)
    rng = np.random.default_rng(1)
    for _ in range(10):
        pasted(one, other, rng, 1.0)
    assert not one.x.any()
    assert other.x.all()


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_cmo_by_hand(make_client: Any, tau: float) -> None:
    """Targets of both images by area; the pasted ones are of any class alike."""
    site = site_of(make_client, CMO(tau=tau, probability=1.0))
    site.rng, twin = np.random.default_rng(5), np.random.default_rng(5)
    twin.random()
    weights = np.where(Y == 0, 1 / 8, 1 / 4)  # half of the draws among four images, half among two
    drawn = twin.choice(6, 6, p=weights)
    given, others = (site.data.batch(rows) for rows in (torch.arange(6), torch.as_tensor(drawn)))
    mixed = pasted(given, others, twin, 1.0)
    with torch.no_grad():
        logits = site.model(mixed.x).double().numpy() + tau * np.log([4 / 6, 2 / 6])
    nll = [np.log(np.exp(logits).sum(1)) - logits[np.arange(6), y] for y in (Y, Y[drawn])]
    expected = (mixed.share * nll[0] + (1 - mixed.share) * nll[1]).mean()
    found = site.learner.loss(site, given)
    assert 0 < mixed.share < 1
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("balance", "share"), [(0.0, 1 / 3), (1.0, 1 / 2), (2.0, 2 / 3)])
def test_what_is_pasted_follows_the_balance(make_client: Any, balance: float, share: float) -> None:
    """Of four and two images: class shares 4 : 2, 1 : 1 and 1/4 : 1/2."""
    site = site_of(make_client, CMO(probability=1.0, balance=balance))
    seen: list[int] = []
    batch = site.trainer.batch
    site.trainer.batch = lambda *given: seen.extend(given[1].tolist()) or batch(*given)  # type: ignore[method-assign]
    for _ in range(300):
        site.learner.loss(site, site.data.batch(torch.arange(6)))
    assert np.isin(seen, [4, 5]).mean() == pytest.approx(share, abs=0.04)


def test_it_pastes_in_the_middle_of_the_run_only(make_client: Any) -> None:
    """Inside, at a probability of 1/2, about half of the batches; at both ends none."""
    for progress, pasting in ((0.0, False), (0.09, False), (0.1, True), (0.89, True), (0.9, False)):
        site = site_of(make_client, CMO(plain=0.1), progress=progress, span=0.0)
        plain = float(CrossEntropy().loss(site, site.data.batch(torch.arange(6))).detach())
        losses = [float(site.learner.loss(site, site.data.batch(torch.arange(6))).detach()) for _ in range(100)]
        others = np.mean([value != plain for value in losses])
        assert (0.3 < others < 0.6) if pasting else not others


def test_pasted_images_pass_the_model_in_the_place_of_others(make_client: Any) -> None:
    site = site_of(make_client, CMO(probability=1.0))
    site.train(site.learner.loss)
    assert site.trainer.work.backward_samples == 6


def test_without_pasting_it_is_cross_entropy_bit_for_bit(tiny: dict[str, Any], tmp_path: Path) -> None:
    ends = []
    for learner in ("cross_entropy", "{name: cmo, probability: 0}", "cmo"):
        run = fedlt.run(tiny, f"learner={learner}", out=tmp_path, backend="inline")
        ends.append(load_file(run.folder / "model.safetensors"))
    plain, off, on = ends
    assert all(torch.equal(off[name], plain[name]) for name in plain)
    assert not all(torch.equal(on[name], plain[name]) for name in plain)


def test_rows_of_numbers_have_no_boxes(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 5)).astype(np.float32), np.arange(120) % 3
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    tiny["data"] = {"name": str(path)}
    scenario = load_scenario(tiny, ["learner=cmo"])
    with pytest.raises(ScenarioError, match="can be pasted into another in images only"):
        assemble(scenario, federate(scenario), torch.device("cpu"))
