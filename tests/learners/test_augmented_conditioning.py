"""Augmented conditioning: what is made of which images, where it stands in a batch, and what stays at a site."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import few_images
import numpy as np
import pytest
import torch
from few_images import Y
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.mixing import blended_pairs, box, boxed_pairs
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.site import Site
from fedlt.errors import ScenarioError
from fedlt.learners.augmented_conditioning import CLASSES, IMAGES, LEARNT, AugmentedConditioning
from fedlt.training.assembly import Assembly, assemble

LAST = {"progress": 0.8}  # in the stage of the classifier


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What generators are told, classes and features; they give what they are given."""
    heard: list[tuple[Tensor, Tensor]] = []

    def images(_: Any, noise: Tensor, y: Tensor, features: Tensor, steps: int) -> Tensor:
        assert steps == 20
        heard.append((y, features))
        return noise

    monkeypatch.setattr("fedlt.blocks.diffusion.Denoiser.images", images)
    return heard


def site_of(make_client: Any, **keys: Any) -> Site:
    """Four images of class 0 and two of class 1."""
    learner = AugmentedConditioning(**{"fill": 1.0, "width": 4, **keys})
    site = few_images.site_of(make_client, learner, 5, state={LEARNT: torch.ones(1)}, **LAST)
    site.task = replace(site.task, input_shape=(3, 4, 4))
    site.rng = np.random.default_rng(3)
    return site


def features_of(site: Site, x: Tensor) -> Tensor:
    """With a mean square of 1."""
    with torch.no_grad():
        found = site.model.encode(x)
    return found / found.square().mean(1, keepdim=True).sqrt()


def begun(site: Site) -> None:
    with torch.no_grad():
        site.learner.begin(site)


@pytest.mark.parametrize("condition", ["mixup", "cutmix", "dropout", "image", "class"])
def test_the_generator_is_told_of_two_images_of_the_class(
    make_client: Any, told: list[tuple[Tensor, Tensor]], condition: str
) -> None:
    """Two images of class 1 make it as large as class 0; each is of two draws among the images 4 and 5."""
    site, twin = site_of(make_client, condition=condition), np.random.default_rng(3)
    begun(site)
    first, second = ([twin.choice([4, 5]) for _ in range(2)] for _ in range(2))
    one, other = site.data.batch(torch.tensor(first)).x, site.data.batch(torch.tensor(second)).x

    expected = features_of(site, one)
    if condition == "mixup":
        share = torch.from_numpy(twin.random((2, 1, 1, 1))).float()
        expected = features_of(site, share * one + (1 - share) * other)
    if condition == "cutmix":
        expected = features_of(site, boxed_pairs(one, other, twin))
    if condition == "dropout":
        expected = expected * torch.from_numpy(twin.random((2, 5)) >= 0.5) / 0.5
    if condition == "class":
        expected = torch.zeros(2, 5)

    ((classes, features),) = told
    assert classes.tolist() == site.state[CLASSES].tolist() == [1, 1]
    assert torch.allclose(features, expected, atol=1e-6)
    noise = torch.from_numpy(twin.standard_normal((2, 3, 4, 4))).float()
    assert torch.equal(site.state[IMAGES], noise.clamp(one.min(), one.max()))


def test_each_pair_has_a_share_or_a_box_of_its_own() -> None:
    dark, light, twin = torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8), np.random.default_rng(0)
    shares = blended_pairs(dark, light, np.random.default_rng(0))
    assert torch.equal(shares, (1 - torch.from_numpy(twin.random((3, 1, 1, 1))).float()).expand(3, 1, 8, 8))
    assert len(shares.unique()) == 3

    boxes, twin = boxed_pairs(dark, light, np.random.default_rng(2)), np.random.default_rng(2)
    for found in boxes:
        rows, columns = box(8, 8, twin.random(), twin)
        expected = torch.zeros(1, 8, 8)
        expected[:, rows, columns] = 1
        assert torch.equal(found, expected)
    assert 0 < boxes.mean() < 1
    assert not dark.any()


@pytest.mark.parametrize(("fill", "made"), [(0.5, []), (0.75, [1]), (1.0, [1, 1])])
def test_rare_classes_are_filled_up_to_a_share_of_the_largest(
    make_client: Any, told: list[tuple[Tensor, Tensor]], fill: float, made: list[int]
) -> None:
    site = site_of(make_client, fill=fill)
    begun(site)
    begun(site)  # images are made once
    assert site.state[CLASSES].tolist() == made
    assert site.state[IMAGES].shape == (len(made), 3, 4, 4)
    assert len(told) == min(1, len(made))


def test_made_images_stand_in_the_places_of_real_ones(make_client: Any, told: list[tuple[Tensor, Tensor]]) -> None:
    """Two made beside six real ones: a place is taken with a probability of 1/4."""
    site = site_of(make_client)
    begun(site)
    batch, twin = site.data.batch(torch.arange(6)), np.random.default_rng(7)
    site.rng = np.random.default_rng(7)
    found = site.learner.loss(site, batch)

    taken, drawn = twin.random(6) < 2 / 8, twin.integers(2, size=6)
    assert 0 < taken.sum() < 6
    x = torch.stack([site.state[IMAGES][drawn[i]] if taken[i] else batch.x[i] for i in range(6)])
    y = torch.tensor([1 if taken[i] else Y[i] for i in range(6)])
    assert float(found.detach()) == pytest.approx(float(F.cross_entropy(site.model(x), y).detach()))
    assert site.trainer.work.backward_samples == 0  # nothing more than the batch is passed


def test_the_generator_learns_what_noise_is_in_real_images(make_client: Any) -> None:
    site = site_of(make_client)
    site.progress, site.span = 0.3, 0.1  # type: ignore[assignment]
    begun(site)
    site.train(site.learner.loss, epochs=1)
    before = {name: value.clone() for name, value in site.model.state_dict().items()}
    losses = []
    for _ in range(20):
        batch = site.data.batch(torch.arange(6))
        losses.append(float(site.learner.loss(site, batch).detach()))
        site.train(site.learner.loss, epochs=3)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    after = site.model.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"generator"}


def test_a_site_that_never_trained_its_generator_has_real_images_alone(make_client: Any) -> None:
    site = few_images.site_of(make_client, AugmentedConditioning(fill=1.0), 5, **LAST)
    begun(site)
    batch = site.data.batch(torch.arange(6))
    assert IMAGES not in site.state
    plain = F.cross_entropy(site.model(batch.x), batch.y)
    assert torch.equal(site.learner.loss(site, batch), plain)


def assembled(tiny: dict[str, Any], *keys: str) -> Assembly:
    scenario = load_scenario(tiny, keys)
    return assemble(scenario, federate(scenario), torch.device("cpu"))


def test_nothing_of_a_generator_is_sent(tiny: dict[str, Any]) -> None:
    """Inside FedAvg as many numbers travel as with cross-entropy; beside the strategy's own, the generator is kept."""
    plain, parts = assembled(tiny), assembled(tiny, "learner=augmented_conditioning")
    kept = [name for name in parts.flat.tensors if parts.flat.is_private(name)]
    assert kept == [name for name in parts.flat.tensors if name.startswith("generator.")] != []
    assert len(parts.flat.shared) == len(plain.flat.shared)
    fedper = assembled(tiny, "learner=augmented_conditioning", "strategy=fedper")
    assert fedper.flat.is_private("generator.into.weight") and fedper.flat.is_private("head.weight")


def test_who_begins_with_a_run_gets_no_generator_of_it(tiny: dict[str, Any], tmp_path: Path) -> None:
    learner = "learner={name: augmented_conditioning, width: 4}"
    begun = assembled(tiny, learner).flat.tensors
    save_file({name: torch.full_like(tensor, 0.5) for name, tensor in begun.items()}, tmp_path / "model.safetensors")
    (tmp_path / "run.json").write_text(json.dumps({"status": "finished"}))
    (tmp_path / "scenario.yaml").write_text("strategy: fedavg\nlearner: augmented_conditioning\n")
    found = assembled(tiny, learner, f"init_from={tmp_path}").flat.tensors
    for name, tensor in found.items():
        assert torch.equal(tensor, begun[name]) if name.startswith("generator.") else tensor.eq(0.5).all()


def test_shares_that_leave_no_round_for_the_classifier_are_refused(tiny: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=r"learner\.pretrain and learner\.generator leave no rounds"):
        assembled(tiny, "learner={name: augmented_conditioning, pretrain: 0.5, generator: 0.5}")
    with pytest.raises(ScenarioError, match=r"a multiple of 4 channels, and learner\.width is 6"):
        assembled(tiny, "learner={name: augmented_conditioning, width: 6}")
