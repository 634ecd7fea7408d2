"""Balanced contrast against loops in NumPy, and what BCL makes of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from few_images import Y, site_of
from numpy.typing import NDArray

from fedlt.blocks.contrast import balanced_contrastive
from fedlt.learners.bcl import BCL

Array = NDArray[np.float64]


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)  # type: ignore[no-any-return]


def by_hand(z: Array, y: NDArray[np.int64], prototypes: Array, there: NDArray[np.bool_], heat: float) -> list[float]:
    found = []
    for i in range(len(z)):
        members: dict[int, list[Array]] = {c: [prototypes[c]] for c in np.flatnonzero(there)}
        for j in range(len(z)):
            if j != i:
                members[y[j]].append(z[j])
        total = sum(np.mean([np.exp(z[i] @ a / heat) for a in part]) for part in members.values())
        found.append(-np.mean([z[i] @ p / heat - np.log(total) for p in members[y[i]]]))
    return found


@pytest.mark.parametrize("there", [[True, True, True, True], [True, True, True, False]], ids=["all", "one missing"])
def test_classes_count_alike_among_the_rivals(there: list[bool]) -> None:
    rng = np.random.default_rng(0)
    z, prototypes = unit(rng.normal(size=(7, 3))), unit(rng.normal(size=(4, 3)))
    y, present = np.array([0, 0, 0, 0, 1, 1, 2]), np.array(there)
    tensors = map(torch.as_tensor, (z, y, prototypes, present))
    found = balanced_contrastive(*tensors, 0.5)
    assert found.tolist() == pytest.approx(by_hand(z, y, prototypes, present, 0.5), rel=1e-9)


def test_copies_of_a_rival_change_nothing() -> None:
    """Two classes; three more copies of the other class's sample leave the anchor's loss as it is."""
    prototypes, y = torch.eye(2), torch.tensor([0, 1])
    z = torch.tensor([[0.6, 0.8], [0.0, 1.0]])  # the rival lies on its prototype
    there = torch.tensor([True, True])
    few = balanced_contrastive(z, y, prototypes, there, 0.5)[0]
    many = balanced_contrastive(z[[0, 1, 1, 1, 1]], y[[0, 1, 1, 1, 1]], prototypes, there, 0.5)[0]
    assert float(few) == pytest.approx(float(many), rel=1e-6)
    assert float(few) == pytest.approx(-1.2 + np.log(np.exp(1.2) + np.exp(1.6)), rel=1e-5)


def test_a_single_sample_is_drawn_to_its_prototype() -> None:
    z = torch.tensor([[0.6, 0.8]], requires_grad=True)
    found = balanced_contrastive(z, torch.tensor([0]), torch.eye(2), torch.tensor([True, True]), 1.0)
    assert found.tolist() == pytest.approx([np.log(np.exp(0.6) + np.exp(0.8)) - 0.6], rel=1e-6)
    found.sum().backward()
    assert z.grad is not None
    assert z.grad[0, 0] < 0 < z.grad[0, 1]


@pytest.fixture
def make_site(make_client: Any) -> Any:
    return partial(site_of, make_client, features=5)


def test_the_loss_is_adjusted_cross_entropy_and_the_contrast_of_two_views(make_site: Any) -> None:
    site = make_site(BCL(contrast=0.4, temperature=0.5, tau=0.7, scale=4.0))
    seen: dict[str, Array] = {}
    for name in ("projection", "prototypes", "head"):
        site.model.get_submodule(name).register_forward_hook(
            lambda m, i, output, at=name: seen.update({at: output.detach().double().numpy()})
        )
    site.generator = torch.Generator().manual_seed(3)
    value = site.learner.loss(site, site.trainer.batch(site, torch.arange(6)))

    logits = seen["head"] + 0.7 * np.log([4 / 6, 2 / 6])
    adjusted = (np.log(np.exp(logits).sum(1)) - logits[np.arange(6), Y]).mean()
    z, centres = unit(seen["projection"]), unit(seen["prototypes"])
    assert (len(z), len(centres)) == (12, 2)
    contrast = np.mean(by_hand(z, np.tile(Y, 2), centres, np.array([True, True]), 0.5))
    assert value.item() == pytest.approx(adjusted + 0.4 * contrast, rel=1e-4)
    assert site.trainer.work.backward_samples == 12  # of the two views; the loop counts the first

    value.backward()
    for name in ("projection.2.weight", "prototypes.2.weight", "backbone.1.weight", "head.weight"):
        assert site.model.get_parameter(name).grad.norm() > 1e-3, name


def test_prototypes_move_the_heads_weights(make_site: Any) -> None:
    """Through them alone, the contrast reaches the head."""
    slopes = []
    for weight in (0.0, 0.4):
        site = make_site(BCL(contrast=weight))
        site.generator = torch.Generator().manual_seed(3)
        site.learner.loss(site, site.trainer.batch(site, torch.arange(6))).backward()
        slopes.append(site.model.get_parameter("head.weight").grad.clone())
    assert not torch.allclose(*slopes, atol=1e-4)
