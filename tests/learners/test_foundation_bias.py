"""Models side by side: each learns what it would learn alone, begins with its own weights, and counts in the sum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.learners.foundation_bias import FoundationBias
from fedlt.nn.experts import experts_of
from fedlt.nn.net import Net
from fedlt.training.assembly import Assembly, assemble

COUNTS = np.array([6, 3, 1])
Y = np.repeat(np.arange(3), COUNTS)
X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


@pytest.fixture
def site(make_client: Any) -> Any:
    torch.manual_seed(0)
    learner = FoundationBias(models=2, scale=5.0)
    net = Net(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), nn.Linear(6, 3), 6)
    learner.build(net, Task("single", 3, (4,)))
    return make_client(net, X, Y, Local(epochs=1, batch_size=10, lr=0.1, momentum=0.0), learner=learner)


def cosines(site: Any, number: int) -> np.ndarray:
    """[10, 3] logits of one model, in NumPy."""
    tensors = {name: tensor.numpy() for name, tensor in site.model.state_dict().items()}
    part = f"backbone.models.{number}.0."
    features = np.tanh(X @ tensors[f"{part}weight"].T + tensors[f"{part}bias"])
    weight = tensors[f"head.heads.{number}.weight"]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (features, weight)]
    return 5.0 * unit[0] @ unit[1].T  # type: ignore[no-any-return]


def test_the_loss_adjusts_each_model_and_the_sum_predicts(site: Any) -> None:
    each = [cosines(site, number) for number in range(2)]
    assert not np.allclose(each[0], each[1], atol=0.1)  # the second model was drawn anew
    adjusted = [logits + np.log(COUNTS / 10) for logits in each]
    nll = [-(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(10), Y].mean() for z in adjusted]
    loss = site.learner.loss(site, site.data.batch(torch.arange(10)))
    assert loss.item() == pytest.approx(sum(nll), rel=1e-5)

    site.model.eval()
    found = site.learner.predict(site.model, torch.as_tensor(X))
    assert [*found] == ["together", "model0", "model1"]
    np.testing.assert_allclose(found["model1"].detach(), each[1], atol=1e-5)
    assert found["together"].argmax(1).tolist() == (each[0] + each[1]).argmax(1).tolist()
    assert found["together"].argmax(1).tolist() != each[0].argmax(1).tolist()


def test_each_model_learns_as_it_would_alone(site: Any) -> None:
    """A step of both is a step of each at the same rate: nothing passes from one to the other."""
    before = site.tensors()
    bias = before["backbone.models.1.0.bias"].clone().requires_grad_()
    features = torch.tanh(torch.as_tensor(X) @ before["backbone.models.1.0.weight"].T + bias)
    logits = 5.0 * F.normalize(features) @ F.normalize(before["head.heads.1.weight"]).T
    F.cross_entropy(logits + torch.tensor(COUNTS / 10).log().float(), torch.as_tensor(Y)).backward()

    site.train(site.learner.loss)
    assert bias.grad is not None
    torch.testing.assert_close(site.tensors()["backbone.models.1.0.bias"], (bias - 0.1 * bias.grad).detach())


# Weights to begin with ------------------------------------------------------------------------------------------------


def assembled(tiny: dict[str, Any], *overrides: str) -> Assembly:
    scenario = load_scenario(tiny, overrides)
    return assemble(scenario, federate(scenario), torch.device("cpu"))


@pytest.fixture
def files(tiny: dict[str, Any], tmp_path: Path) -> list[str]:
    """The tiny model's weights, all 1.0 in one file and all 2.0 in another."""
    names = []
    for value in (1.0, 2.0):
        tensors = {name: torch.full_like(t, value) for name, t in assembled(tiny).model.state_dict().items()}
        torch.save(tensors, tmp_path / f"{value:.0f}.pt")
        names.append(str(tmp_path / f"{value:.0f}.pt"))
    return names


def test_each_model_begins_with_its_own_weights(tiny: dict[str, Any], files: list[str]) -> None:
    learner = "learner={name: foundation_bias, models: 2}"
    parts = assembled(tiny, learner, f"init_from=[{','.join(files)}]")
    held = parts.flat.tensors
    values = [held[f"backbone.models.{number}.1.weight"].unique().tolist() for number in range(2)]
    assert values == [[1.0], [2.0]]
    assert parts.initial is not None
    assert parts.initial.text() == (
        "init_from 1.pt, 2.pt: 4 of 6 tensors taken; head.heads.0.weight, head.heads.1.weight begin anew"
    )
    assert len(experts_of(parts.model).heads) == 2

    # One file alone is for all of them.
    same = assembled(tiny, learner, f"init_from={files[1]}").flat.tensors
    assert all(same[f"backbone.models.{number}.1.bias"].eq(2.0).all() for number in range(2))


def test_models_and_weights_are_as_many(tiny: dict[str, Any], files: list[str]) -> None:
    both = f"init_from=[{','.join(files)}]"
    for words, said in (
        ((both,), "of this run are not several; take learner=foundation_bias learner.models=2"),
        ((both, "learner=foundation_bias"), "of this run are 3 side by side; take .* learner.models=2"),
        (("init_from=[]",), r"init_from\.name: is an empty list"),
    ):
        with pytest.raises(ScenarioError, match=said):
            assembled(tiny, *words)
    named = load_scenario(tiny, [both])
    assert named.init_from.names == files and named.hash != load_scenario(tiny, [f"init_from={files[0]}"]).hash
