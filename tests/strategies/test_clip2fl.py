"""CLIP2FL: distillation and contrast by hand; without the two it is CReFF."""

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
from fedlt.blocks.zero_shot import VECTORS, cosines
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from strategies.clip2fl import CLIP2FL


@pytest.mark.parametrize("known", [3, 2, 0], ids=["all", "some", "none"])
def test_a_step_follows_labels_and_teacher(known: int, make_client: Any) -> None:
    """T^2 KL at temperature T over the classes that have a vector, on logits 100 cos."""
    torch.manual_seed(0)
    strategy = CLIP2FL(distil=0.5, temperature=20.0)
    net, task = Net(nn.Identity(), nn.Linear(2, 3), 2), Task("single", 3, (2,))
    strategy.build(net, task)
    x, y = np.array([[1.0, 0.2], [-0.3, 1.0], [0.8, 0.9]]), np.array([0, 1, 0])
    local = Local(epochs=1, batch_size=3, lr=0.5, momentum=0.0)
    client = make_client(net, x, y, local, frozen=strategy.frozen)
    client.class_counts, client.task = torch.tensor([2, 1, 0]), task
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]]) * (torch.arange(3)[:, None] < known)
    client.received = {VECTORS: vectors, "head": torch.zeros(3, 3)}
    weight, bias = (w.detach().clone().requires_grad_() for w in (net.head.weight, net.head.bias))
    strategy.fit(client)

    samples, labels = torch.tensor(x).float(), torch.tensor(y)
    logits = F.linear(samples, weight, bias)
    loss = F.cross_entropy(logits, labels)
    if known:
        given = (cosines(samples, vectors[:known]) / 20).softmax(1)
        loss = loss + 0.5 * 400 * F.kl_div((logits[:, :known] / 20).log_softmax(1), given, reduction="batchmean")
    slope, _ = torch.autograd.grad(loss, (weight, bias))
    assert torch.allclose(net.head.weight, weight - 0.5 * slope, atol=1e-5)
    assert client.extras["teacher_means"][:2].tolist() == pytest.approx(np.stack([x[[0, 2]].mean(0), x[1]]))
    assert "gradients" in client.extras


def test_synthetic_features_are_drawn_to_their_classs_vector() -> None:
    """One step against autograd, on the mean over all features; those of a class without a vector stay."""
    torch.manual_seed(1)
    synthetic, vectors = torch.randn(3, 4, 2).double(), torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 1.0]]).double()
    leaf = synthetic.clone().requires_grad_()
    scores = leaf[[0, 2]] @ F.normalize(vectors[[0, 2]]).T / 0.2
    labels = torch.tensor([0, 1]).repeat_interleave(4)
    loss = F.cross_entropy(scores.flatten(0, 1), labels, reduction="sum") / 12
    (slope,) = torch.autograd.grad(5.0 * loss, leaf)

    found = CLIP2FL(contrast=5.0, tau=0.2, match_steps=1, match_lr=0.3).drawn(synthetic, vectors)
    assert torch.allclose(found, synthetic - 0.3 * slope, atol=1e-12)
    assert torch.equal(found[1], synthetic[1])
    assert not torch.equal(found[0], synthetic[0])
    assert torch.equal(CLIP2FL(contrast=0.0, match_steps=2).drawn(synthetic, vectors), synthetic)


@pytest.mark.slow
def test_without_teacher_and_contrast_it_is_creff_bit_for_bit(tiny: Any, tmp_path: Path) -> None:
    small = "features: 4, match_steps: 3, head_epochs: 2"
    texts = {
        "creff": f"{{name: creff, {small}}}",
        "off": f"{{name: clip2fl, distil: 0, contrast: 0, {small}}}",
        "taught": f"{{name: clip2fl, contrast: 0, {small}}}",
        "drawn": f"{{name: clip2fl, distil: 0, contrast: 100, {small}}}",
    }
    runs = {
        name: fedlt.run(tiny, f"strategy={text}", "federation.rounds=3", out=tmp_path, backend="inline")
        for name, text in texts.items()
    }
    held = {name: load_file(run.folder / "model.safetensors") for name, run in runs.items()}
    shared = set(held["creff"])
    alike = {
        name: all(torch.equal(tensors[key], held["creff"][key]) for key in shared) for name, tensors in held.items()
    }
    assert alike == {"creff": True, "off": True, "taught": False, "drawn": "beside/outbox.head" not in shared}


@pytest.mark.slow
def test_a_cohort_of_one_runs_finitely(tiny: Any, tmp_path: Path) -> None:
    text = "strategy={name: clip2fl, features: 4, match_steps: 3, head_epochs: 2}"
    run = fedlt.run(tiny, text, "federation.participation=0.1", out=tmp_path, backend="inline")
    assert np.isfinite([value for key, value in run.final.items() if "accuracy" in key]).all()
