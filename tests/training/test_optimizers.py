"""Optimisers of PyTorch by name: ten steps are PyTorch's own, they go on where a training does, and bits are equal."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fedlt
from fedlt.config import optimizers
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.site import Batch
from fedlt.errors import ScenarioError
from fedlt.learners.sam import SAM
from fedlt.nn.net import Net

GIVEN: dict[str, dict[str, Any]] = {
    "adam": {"betas": [0.8, 0.9]},
    "adamw": {"eps": 1e-6},
    "rmsprop": {"momentum": 0.5, "centered": True},
    "nadam": {"momentum_decay": 0.01},
}
NAMES = [name for name in optimizers.names() if name not in ("sgd", "muon")]  # muon is for matrices only


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2), 4)


def data(n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)).astype(np.float32), np.arange(n) % 2


def local_of(tiny: dict[str, Any], name: str, **settings: Any) -> Local:
    """`local` of a scenario with this optimiser; full batches."""
    chosen = {"name": name, **GIVEN.get(name, {})}
    return load_scenario({**tiny, "local": {"batch_size": 8, "lr": 0.05, "optimizer": chosen, **settings}}).local


@pytest.mark.parametrize("name", [*NAMES, "muon"])
def test_the_keys_are_arguments_of_the_class_with_its_defaults(name: str) -> None:
    kind, _ = optimizers.create(name, {})
    arguments = inspect.signature(kind).parameters
    for field in optimizers.fields(name)[2]:
        usual = arguments[field.name].default
        assert field.default == (list(usual) if isinstance(usual, tuple) else usual)


@pytest.mark.slow
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_are_those_of_pytorch(make_client: Any, tiny: dict[str, Any], name: str, clip: float | None) -> None:
    local = local_of(tiny, name, epochs=10, weight_decay=0.0 if name == "rprop" else 0.1, clip=clip)
    client, twin = make_client(net(), *data(), local), net()
    client.train(client.learner.loss)

    kind, options = local.optimizer.create()
    decay = {} if name == "rprop" else {"weight_decay": 0.1}
    reference = kind(twin.parameters(), lr=0.05, **options, **decay)
    x, y = (torch.as_tensor(part) for part in data())
    for _ in range(10):
        reference.zero_grad()
        F.cross_entropy(twin(x), y).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(twin.parameters(), clip)
        reference.step()
    moved = net()
    for key, expected in twin.named_parameters():
        assert torch.allclose(client.model.get_parameter(key), expected, atol=1e-5), key
        assert not torch.allclose(moved.get_parameter(key), expected, atol=1e-4), key


@pytest.mark.parametrize("name", ["adam", "rmsprop", "adamax"])
def test_the_state_goes_on_where_rounds_are_one_training_or_a_strategy_asks_for_it(
    make_client: Any, tiny: dict[str, Any], name: str
) -> None:
    ends = {}
    ways: dict[str, tuple[dict[str, bool], int]] = {
        "whole": ({}, 1),
        "continuous": ({"continuous": True}, 2),
        "asked for": ({"keep_optimizer": True}, 2),
        "lost": ({}, 2),
    }
    for kind, (fields, rounds) in ways.items():
        client = make_client(net(), *data(), local_of(tiny, name, epochs=4 // rounds), **fields)
        client.span = 1 / rounds
        for number in range(rounds):
            client.progress = number / rounds
            client.train(client.learner.loss)
        ends[kind] = client.flat.storage.clone()
    assert torch.allclose(ends["continuous"], ends["whole"], atol=1e-6)
    assert torch.equal(ends["asked for"], ends["continuous"])
    assert not torch.allclose(ends["lost"], ends["whole"], atol=1e-4)


@pytest.mark.slow
def test_bits_are_equal_everywhere_and_after_a_resume(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for strategy in ("fedper", "centralized", "{name: balancefl, optimizer_state: kept}"):
        changes = [f"strategy={strategy}", "local.optimizer=adamw", "local.lr=0.01", "federation.rounds=4"]
        plain = fedlt.run(tiny, *changes, out=tmp_path / "plain", backend="inline")
        forked = fedlt.run(tiny, *changes, out=tmp_path / "forked", backend="processes", workers=2)
        assert forked.summary["model_hash"] == plain.summary["model_hash"]
        kept = fedlt.run(tiny, *changes, "resources.checkpoint=1", out=tmp_path / "kept", backend="inline")
        resumed = fedlt.run(tiny, *changes, out=kept.folder.parent, backend="inline", resume_from=2)
        assert resumed.summary["model_hash"] == plain.summary["model_hash"]


def test_the_usual_optimiser_leaves_hash_and_file_of_a_scenario_as_they_were(tiny: dict[str, Any]) -> None:
    assert load_scenario(tiny, ["local.optimizer=sgd"]).hash == load_scenario(tiny).hash
    assert "optimizer" not in load_scenario(tiny).to_dict()["local"]
    other = load_scenario(tiny, ["local.optimizer=adam"])
    assert other.hash != load_scenario(tiny).hash
    assert other.to_dict()["local"]["optimizer"]["betas"] == [0.9, 0.999]
    assert load_scenario(other.to_dict()).hash == other.hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["local.optimizer=adm"], "local.optimizer: .* did you mean 'adam'"),
        (["local.optimizer=lbfgs"], "local.optimizer: .*lbfgs"),
        (["local.optimizer={name: adam, beta: 1}"], "local.optimizer.beta: unknown key of adam; did you mean 'betas'"),
        (["local.optimizer={name: adam, eps: small}"], "local.optimizer.eps: expected a number"),
        (["local.optimizer=adam", "local.nesterov=true"], "local.nesterov: is of sgd"),
        (["local.optimizer=adam", "local.together=2"], "local.together: .*sgd only"),
        (["local.steps=3", "local.together=2"], "local.together: goes by epochs"),
        (["local.optimizer=muon"], "local.optimizer: muon does not fit"),
        (["local.optimizer=rprop", "local.weight_decay=0.1"], "local.optimizer: rprop does not fit"),
        (["local.optimizer={name: adam, betas: [2, 3]}"], "local.optimizer: adam does not fit: Invalid beta"),
        (["strategy=scaffold", "local.optimizer=adam"], "local.optimizer: .*scaffold divides by the rates"),
    ],
)
def test_what_has_no_meaning_is_refused(tiny: dict[str, Any], tmp_path: Path, changes: list[str], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        fedlt.run(tiny, *changes, out=tmp_path / "runs", backend="inline")
    assert not (tmp_path / "runs").exists()


def test_as_many_steps_as_asked_for_however_much_a_client_holds(
    tiny: dict[str, Any], tmp_path: Path, train_one: Callable[..., Any]
) -> None:
    for client in range(3):
        _, _, report = train_one(client, "local.steps=7", "local.batch_size=4", "local.epochs=1")
        assert report.metrics["steps"] == 7
    run = fedlt.run(tiny, "local.steps=3", out=tmp_path, backend="inline")
    cohort = run.rounds.clients.iloc[0]
    assert (run.rounds.steps == 3 * cohort).all()


def test_one_site_takes_the_steps_of_its_cohort(tiny: dict[str, Any], tmp_path: Path) -> None:
    both = {
        name: fedlt.run(tiny, "local.steps=3", "local.batch_size=4", f"strategy={name}", out=tmp_path, backend="inline")
        for name in ("fedavg", "centralized")
    }
    assert both["centralized"].rounds.steps.tolist() == both["fedavg"].rounds.steps.tolist()


def test_sam_takes_the_gradient_where_the_loss_is_highest_nearby(make_client: Any) -> None:
    """One step of full batch: w - lr * g(w + rho g / ||g||), written out with PyTorch's own gradients."""
    local = Local(epochs=1, batch_size=8, lr=0.1, momentum=0.0)
    client, twin = make_client(net(), *data(), local, learner=SAM(rho=0.5)), net()
    client.train(client.learner.loss)

    x, y = (torch.as_tensor(part) for part in data())
    weights = [p.detach().clone() for p in twin.parameters()]
    first = torch.autograd.grad(F.cross_entropy(twin(x), y), list(twin.parameters()))
    norm = torch.cat([g.flatten() for g in first]).norm()
    with torch.no_grad():
        for p, g in zip(twin.parameters(), first, strict=True):
            p += 0.5 * g / norm
    second = torch.autograd.grad(F.cross_entropy(twin(x), y), list(twin.parameters()))
    for found, w, g, plain in zip(client.model.parameters(), weights, second, first, strict=True):
        assert torch.allclose(found, w - 0.1 * g, atol=1e-6)
        assert not torch.allclose(found, w - 0.1 * plain, atol=1e-4)
    assert client.trainer.work.backward_samples == 16


def test_sam_moves_running_statistics_once_a_step(make_client: Any) -> None:
    statistics = {}
    for learner in (SAM(), None):
        torch.manual_seed(0)
        model = Net(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2), 4)
        fields = {} if learner is None else {"learner": learner}
        client = make_client(model, *data(), Local(epochs=1, batch_size=8, lr=0.1), **fields)
        client.train(lambda client, batch: client.learner.loss(client, batch))
        statistics[learner is None] = client.model.backbone[1].running_mean.clone()
    assert torch.equal(statistics[True], statistics[False])


def test_sam_takes_the_loss_of_the_strategy(make_client: Any) -> None:
    seen = []

    def loss(client: Any, batch: Batch) -> torch.Tensor:
        seen.append(len(batch))
        return client.learner.loss(client, batch)

    client = make_client(net(), *data(), Local(epochs=1, batch_size=4, lr=0.1), learner=SAM())
    client.train(loss)
    assert seen == [4, 4, 4, 4]


def test_a_second_pass_that_fails_leaves_no_trace_in_the_model(make_client: Any) -> None:
    """A worker's model serves other clients after one that failed and was skipped."""
    torch.manual_seed(0)
    model = Net(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2), 4)
    client = make_client(model, *data(), Local(epochs=1, batch_size=8, lr=0.1), learner=SAM())
    passes = []

    def loss(client: Any, batch: Batch) -> torch.Tensor:
        passes.append(len(batch))
        if len(passes) == 2:
            raise ValueError("the second pass fails")
        return client.learner.loss(client, batch)

    with pytest.raises(ValueError, match="the second pass fails"):
        client.train(loss)
    assert client.model.backbone[1].momentum == 0.1


def test_no_step_lies_beyond_the_round_where_passes_differ_in_length(make_client: Any) -> None:
    """Passes of four, then two batches: each is put where it would lie if all were as long."""
    lengths, seen = iter((8, 4)), []
    client = make_client(net(), *data(), Local(epochs=2, batch_size=2, lr=0.1))

    def loss(client: Any, batch: Batch) -> torch.Tensor:
        seen.append(client.elapsed)
        return client.learner.loss(client, batch)

    client.train(loss, sampler=lambda site: np.arange(next(lengths)))
    assert seen == [0 / 8, 1 / 8, 2 / 8, 3 / 8, 2 / 4, 3 / 4]
