"""FedLoGe against NumPy: a local step, a round, both realignments; what travels, and what an evaluation costs.

Heads are `standardised` or `official`: the latter read the features as they are, as in the official code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

import fedlt
from clients.host import worker_for
from clients.worker import Worker
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate, plan
from fedlt.data.task import Task
from fedlt.exchange import Job, Work
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.nn.norm import BatchNorm
from fedlt.nn.standardised import StandardisedHead
from fedlt.strategy import Client, Server
from fedlt.training.assembly import assemble
from server.rounds.schedule import evaluation_units
from strategies.fedloge import FedLoGe, norm_by_features, norm_by_rounds
from tests.evaluations import matrices

Matrix = NDArray[np.float64]
LOCAL = Local(epochs=2, batch_size=8, lr=0.5, momentum=0.5)
PARTS = ("backbone.0.weight", "head.weight", "head.bias", "local_head.weight", "local_head.bias")
STATISTICS = ("head.mean", "head.square")
Heads = Literal["standardised", "official"]
both = pytest.mark.parametrize("heads", ["standardised", "official"])


def small_net(strategy: FedLoGe, rounds: int = 1) -> Net:
    """Three inputs, six features behind a ReLU, three classes."""
    torch.manual_seed(4)
    net = Net(nn.Sequential(nn.Linear(3, 6, bias=False), nn.ReLU()), nn.Linear(6, 3), 6)
    strategy.build(net, Task("single", 3, (3,), np.ones(3, np.int64), rounds))
    return net


def small_client(make_client: Any, strategy: FedLoGe, samples: int, local: Local = LOCAL) -> Client:
    rng = np.random.default_rng(samples)
    x, y = rng.normal(size=(samples, 3)), np.arange(samples) % 3
    settings = {"private": strategy.private, "frozen": strategy.frozen, "id": samples}
    return make_client(small_net(strategy), x, y, local, **settings)  # type: ignore[no-any-return]


def tensors(client: Client) -> dict[str, Matrix]:
    return {name: t.numpy().astype(np.float64).copy() for name, t in client.flat.tensors.items()}


def softmax_error(logits: Matrix, y: NDArray[np.int64]) -> Matrix:
    """Gradient of the mean cross-entropy with respect to the logits."""
    scores = np.exp(logits - logits.max(1, keepdims=True))
    return (scores / scores.sum(1, keepdims=True) - np.eye(logits.shape[1])[y]) / len(y)  # type: ignore[no-any-return]


def standardised(h: Matrix, w: dict[str, Matrix]) -> Matrix:
    """Features less their running mean, over the root of their running variance and a hundredth of the mean one."""
    variance = w["head.square"] - w["head.mean"] ** 2
    return (h - w["head.mean"]) / np.sqrt(variance + 0.01 * variance.mean())  # type: ignore[no-any-return]


def by_hand(start: dict[str, Matrix], client: Client, steps: int, lr: float, momentum: float) -> dict[str, Matrix]:
    """Full-batch steps with three optimisers, as the three losses of the official code.

    Where there are statistics, the batch first moves them by a tenth, or replaces those that are still zero.
    """
    x, y = client.data.x().numpy().astype(np.float64), client.data.y.numpy()
    w = {name: value.copy() for name, value in start.items()}
    speed = {name: np.zeros_like(w[name]) for name in PARTS}
    for _ in range(steps):
        h = np.maximum(x @ w["backbone.0.weight"].T, 0)
        fixed = softmax_error(h @ w["simplex.weight"].T, y)
        gradient = {"backbone.0.weight": (fixed @ w["simplex.weight"] * (h > 0)).T @ x}

        inputs = h
        if "head.mean" in w:
            share = 0.1 if w["head.square"].any() else 1.0
            w["head.mean"] += share * (h.mean(0) - w["head.mean"])
            w["head.square"] += share * ((h**2).mean(0) - w["head.square"])
            inputs = standardised(h, w)

        for head in ("head", "local_head"):
            error = softmax_error(inputs @ w[f"{head}.weight"].T + w[f"{head}.bias"], y)
            gradient |= {f"{head}.weight": error.T @ inputs, f"{head}.bias": error.sum(0)}
        for name in PARTS:
            speed[name] = momentum * speed[name] + gradient[name]
            w[name] -= lr * speed[name]
    return w


def close(found: dict[str, Matrix], expected: dict[str, Matrix], names: tuple[str, ...] = PARTS) -> bool:
    return all(np.allclose(found[name], expected[name], atol=1e-5) for name in names)


# Training -------------------------------------------------------------------------------------------------------------


def names_of(heads: Heads) -> tuple[str, ...]:
    return PARTS if heads == "official" else PARTS + STATISTICS


@pytest.mark.slow
@both
@pytest.mark.parametrize("steps", [1, 3])
def test_local_steps_are_those_of_three_optimisers(make_client: Any, steps: int, heads: Heads) -> None:
    strategy = FedLoGe(sparsity=0.3, heads=heads)
    client = small_client(make_client, strategy, 5, Local(epochs=steps, batch_size=8, lr=0.5, momentum=0.5))
    start = tensors(client)
    strategy.fit(client)
    end = tensors(client)
    assert close(end, by_hand(start, client, steps, 0.5, 0.5), names_of(heads))
    assert all(np.abs(end[name] - start[name]).max() > 1e-3 for name in names_of(heads))
    assert np.array_equal(end["simplex.weight"], start["simplex.weight"])


@both
def test_a_round_averages_backbone_and_psi_by_samples(make_client: Any, heads: Heads) -> None:
    """Clients of 5 and 8 samples, in descending order: (5 w_5 + 8 w_8) / 13; phi and the simplex are not in it.

    Of the standardised heads, the means of the features and of their squares are averaged alike.
    """
    from fedlt.strategy import Update

    strategy = FedLoGe(sparsity=0.3, heads=heads)
    updates, ends = [], {}
    for samples in (8, 5):
        client = small_client(make_client, strategy, samples)
        start = tensors(client)
        strategy.fit(client)
        weight = strategy.weight(client)
        updates.append(Update((samples,), weight, client.flat.shared * weight))
        ends[samples] = by_hand(start, client, 2, 0.5, 0.5)
        assert len(client.flat.shared) == 18 + 18 + 3 + (12 if heads == "standardised" else 0)
    net = small_net(strategy)
    server = Server(net, Flat(net, strategy.private, strategy.frozen), Task("single", 3, (3,), np.ones(3, np.int64)))
    strategy.aggregate(server, updates)
    for name in (*PARTS[:3], *names_of(heads)[5:]):
        mean = (5 * ends[5][name] + 8 * ends[8][name]) / 13
        assert np.allclose(server.flat.tensors[name].numpy(), mean, atol=1e-5)
        assert np.abs(ends[5][name] - ends[8][name]).max() > 0.01  # or the weights would not be tested
    assert np.array_equal(server.flat.tensors["simplex.weight"].numpy(), start["simplex.weight"].astype(np.float32))


def test_no_head_but_the_simplex_reaches_the_backbone(make_client: Any) -> None:
    """With a simplex of zeros the backbone has no gradient; as an ablation, psi can be what trains it."""
    for backbone_from, still in (("simplex", True), ("psi", False)):
        strategy = FedLoGe(sparsity=0.3, backbone_from=backbone_from)  # type: ignore[arg-type]
        client = small_client(make_client, strategy, 5)
        client.flat.tensors["simplex.weight"].zero_()
        start = tensors(client)
        strategy.fit(client)
        assert np.array_equal(tensors(client)["backbone.0.weight"], start["backbone.0.weight"]) == still
        assert not np.array_equal(tensors(client)["head.weight"], start["head.weight"])


@pytest.mark.slow
def test_the_simplex_is_the_same_after_fifty_rounds(tiny: dict[str, Any], tmp_path: Path) -> None:
    overrides = ["strategy=fedloge", "federation.rounds=50", "evaluation.every=50", "local.weight_decay=0.01"]
    scenario = load_scenario(tiny, overrides)
    run = fedlt.run(scenario, out=tmp_path, backend="inline")
    assert len(run.rounds) == 50
    simplex = worker_for(scenario.hash, {}).context.flat.tensors["simplex.weight"]  # of the worker that has trained
    assert torch.equal(simplex, Worker(scenario, federate(scenario)).context.flat.tensors["simplex.weight"])
    assert int((simplex == 0).sum()) == int(0.6 * simplex.numel())


def test_the_official_norm_follows_the_rounds_unless_it_is_given() -> None:
    assert [norm_by_rounds(rounds) for rounds in (10, 50, 80, 100, 200, 500)] == [0.4, 0.4, 0.25, 0.2, 0.1, 0.1]
    for given, rounds, norm in ((None, 100, 0.2), (0.7, 100, 0.7)):
        rows = small_net(FedLoGe(sparsity=0.3, heads="official", norm=given), rounds).get_submodule("simplex").weight
        assert torch.allclose(rows.norm(dim=1), torch.tensor(norm))  # type: ignore[operator, union-attr]


class Constant(nn.Module):
    """Six features of 2, whatever comes in: their norm is the root of 24."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = BatchNorm(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.norm(x[:, None, None])
        return torch.full((len(x), 6), 2.0)


def test_the_norm_is_inverse_to_that_of_the_initial_features() -> None:
    """8 / sqrt(24) is 1.633; neither the model's statistics nor PyTorch's generator notice that it was asked for."""
    net, task = Net(Constant(), nn.Linear(6, 3), 6), Task("single", 3, (3,), np.ones(3, np.int64), 100)
    before, version = torch.get_rng_state(), net.backbone_version()
    assert norm_by_features(net, task) == 1.6
    assert torch.equal(torch.get_rng_state(), before) and net.backbone_version() == version
    strategy = FedLoGe(sparsity=0.3)
    strategy.build(net, task)
    rows = net.get_submodule("simplex").weight
    assert torch.allclose(rows.norm(dim=1), torch.tensor(1.6))  # type: ignore[operator, union-attr]


def test_the_official_bias_is_random_and_frozen(make_client: Any) -> None:
    assert small_net(FedLoGe(sparsity=0.3)).get_submodule("simplex").bias is None
    strategy = FedLoGe(sparsity=0.3, bias="official")
    client = small_client(make_client, strategy, 5)
    bias = tensors(client)["simplex.bias"]
    assert 0 < np.abs(bias).max() <= 6**-0.5 and len(set(bias)) == 3
    strategy.fit(client)
    assert np.array_equal(tensors(client)["simplex.bias"], bias)


# Heads on standardised features ---------------------------------------------------------------------------------------

SCALED = """
from dataclasses import dataclass

from torch import nn

from fedlt.nn.mlp import MLP


@dataclass(frozen=True)
class Scaled(MLP):
    factor: float = 1.0

    def backbone(self, input_shape):
        module, dim = super().backbone(input_shape)
        return nn.Sequential(module, Times(self.factor)), dim


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor
"""


@pytest.mark.slow
@pytest.mark.parametrize(("heads", "alike"), [("standardised", True), ("official", False)])
def test_heads_learn_alike_on_features_of_a_hundred_times_the_scale(
    tiny: dict[str, Any], tmp_path: Path, heads: str, alike: bool
) -> None:
    """The simplex's norm is a hundredth there, so that backbone and simplex see the same logits and gradients."""
    path = tmp_path / "scaled.py"
    path.write_text(SCALED)
    found = []
    for factor in (1.0, 100.0):
        strategy = f"strategy={{name: fedloge, heads: {heads}, norm: {2 / factor}, sparsity: 0.0}}"
        model = f"model={{name: '{path}:Scaled', width: 32, depth: 1, factor: {factor}}}"
        changes = ["federation.rounds=15", "evaluation.every=15", "local.momentum=0.9"]
        found.append(fedlt.run(tiny, strategy, model, *changes, out=tmp_path, backend="inline").final)
    plain, scaled = found
    assert abs(scaled["generic[simplex]/accuracy"] - plain["generic[simplex]/accuracy"]) <= 0.02
    figures = ("generic[psi]/accuracy", "personal_masked[phi]/accuracy")
    assert all(abs(scaled[figure] - plain[figure]) <= 0.02 for figure in figures) == alike


def test_standardised_features_by_hand() -> None:
    """Batches of (0, 4), (4, 4) and of (10, 4): means of 2 and 4, then moved by a tenth; the second never varies."""
    head = StandardisedHead(nn.Linear(2, 3))
    first = torch.tensor([[0.0, 4.0], [4.0, 4.0]])
    z = head.standardise(first)
    assert head.mean.tolist() == [2.0, 4.0] and head.square.tolist() == [8.0, 16.0]
    # variances 4 and 0, of mean 2: 4.02 and 0.02 with the hundredth of it
    assert torch.allclose(z, torch.tensor([[-2.0, 0.0], [2.0, 0.0]]) / 4.02**0.5)
    head.standardise(torch.tensor([[10.0, 4.0]]))
    assert torch.allclose(head.mean, torch.tensor([2.8, 4.0]))
    assert torch.allclose(head.square, torch.tensor([17.2, 16.0]))

    head.eval()
    variance = 17.2 - 2.8**2
    expected = torch.tensor([[(5 - 2.8) / (variance * 1.005) ** 0.5, 1 / (variance * 0.005) ** 0.5]])
    assert torch.allclose(head.standardise(torch.tensor([[5.0, 5.0]])), expected)
    assert torch.allclose(head.mean, torch.tensor([2.8, 4.0]))
    assert torch.equal(head(first), nn.functional.linear(head.standardise(first), head.weight, head.bias))


def test_a_single_first_sample_is_standardised_to_zero() -> None:
    head = StandardisedHead(nn.Linear(2, 3))
    assert head.standardise(torch.tensor([[3.0, -1.0]])).tolist() == [[0.0, 0.0]]
    assert head.eval().standardise(torch.tensor([[4.0, -1.0]])).tolist() == [[1.0, 0.0]]


PINNED = {  # first digits of the hash of the model after three rounds
    "fedavg": "a868d7f57c1be77d",
    "{name: fedloge, heads: official}": "c468d1ed07783c9f",
    "{name: fedloge, heads: official, bias: official}": "edcb884993461a4d",
    "{name: fedloge, heads: official, norm: 2.0}": "fc2e4b0d8d20b7e0",
    "{name: fedloge, backbone_from: psi}": "94c4b527fea43947",
}


@pytest.mark.slow
def test_official_heads_have_the_bits_that_they_had_before_there_were_others(tmp_path: Path) -> None:
    """A small convolutional network, twenty clients. Where FedAvg's own bits differ, the machine rounds otherwise."""
    scenario = {
        "data": {"name": "digits", "longtail": {"profile": "exponential", "imbalance_factor": 20}},
        "federation": {
            "clients": 20,
            "participation": 0.4,
            "rounds": 3,
            "partition": {"name": "dirichlet_per_class", "alpha": 0.5},
            "empty": "redraw",
        },
        "local": {"epochs": 3, "batch_size": 16, "lr": 0.05, "momentum": 0.9},
        "model": {"name": "cnn", "width": 16, "hidden": 128},
        "evaluation": {"every": 3},
        "seed": 0,
    }
    for strategy, expected in PINNED.items():
        found = fedlt.run(scenario, f"strategy={strategy}", out=tmp_path, backend="inline").summary["model_hash"][:16]
        if strategy == "fedavg" and found != expected:
            pytest.skip("another processor or version of PyTorch rounds in another way")
        assert found == expected, strategy


# Realignment ----------------------------------------------------------------------------------------------------------

NAMES = ["realigned", "phi", "psi", "phi_psi", "readme"]


@both
def test_the_generic_variants(make_client: Any, heads: Heads) -> None:
    """Rows of psi at norm 1.7, its bias kept; the model itself stays as it is. The simplex reads the features."""
    strategy = FedLoGe(sparsity=0.3, heads=heads)
    client = small_client(make_client, strategy, 5)
    strategy.fit(client)
    w, x = tensors(client), client.data.x()
    h = np.maximum(x.numpy() @ w["backbone.0.weight"].T, 0)
    z = h if heads == "official" else standardised(h, w)
    rows = 1.7 * w["head.weight"] / np.linalg.norm(w["head.weight"], axis=1, keepdims=True)
    server = Server(client.model, client.flat, client.task)
    found = strategy.generic(server, x)
    assert list(found) == ["realigned", "psi", "simplex"]
    assert np.allclose(found["realigned"].detach(), z @ rows.T + w["head.bias"], atol=1e-4)

    # Without a norm, that of psi's rows in the mean.
    scale = float(np.linalg.norm(w["head.weight"], axis=1).mean()) / 1.7
    own = FedLoGe(head_norm=None, heads=heads).generic(server, x)["realigned"]
    assert np.allclose(own.detach(), z @ (scale * rows).T + w["head.bias"], atol=1e-3)
    assert np.allclose(found["psi"].detach(), z @ w["head.weight"].T + w["head.bias"], atol=1e-4)
    assert np.allclose(found["simplex"].detach(), h @ w["simplex.weight"].T, atol=1e-5)
    assert all(np.array_equal(value, w[name]) for name, value in tensors(client).items())


def test_without_bias_the_generic_norm_is_of_no_consequence(make_client: Any) -> None:
    client = small_client(make_client, FedLoGe(sparsity=0.3), 5)
    server = Server(client.model, client.flat, client.task)
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    for bias, equal in ((0.0, True), (2.0, False)):
        client.flat.tensors["head.bias"].copy_(torch.tensor([0.0, bias, -bias]))
        small, large = (FedLoGe(head_norm=c).generic(server, x)["realigned"].argmax(1) for c in (0.1, 30.0))
        assert torch.equal(small, large) == equal


@both
def test_the_personal_variants(make_client: Any, heads: Heads) -> None:
    """Row c of psi times the norm of row c of phi, bias kept; phi's own logits beside it.

    The README's form has phi's bias beside the moved rows, and psi as it is, so that no bias counts twice.
    """
    strategy = FedLoGe(sparsity=0.3, heads=heads)
    client = small_client(make_client, strategy, 5)
    strategy.fit(client)
    w, x = tensors(client), client.data.x()
    h = np.maximum(x.numpy() @ w["backbone.0.weight"].T, 0)
    z = h if heads == "official" else standardised(h, w)
    psi = z @ w["head.weight"].T + w["head.bias"]
    phi = z @ w["local_head.weight"].T + w["local_head.bias"]
    moved = np.stack([z @ w["head.weight"][c] * np.linalg.norm(w["local_head.weight"][c]) for c in range(3)], axis=1)
    realigned, readme = phi + moved + w["head.bias"], moved + w["local_head.bias"] + psi
    found = strategy.personal(client, x)
    assert list(found) == NAMES
    for name, expected in zip(NAMES, (realigned, phi, psi, phi + psi, readme), strict=True):
        assert np.allclose(found[name].detach(), expected, atol=1e-4), name
    assert all(np.array_equal(value, w[name]) for name, value in tensors(client).items())


# In a run -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_variant_is_reported_and_phi_never_leaves(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Fifty rounds; an mlp of 16 features and 10 classes: 64 * 16 + 16 backbone, 160 + 10 head numbers and the means of
    16 features and of their squares travel.
    """
    scenario = load_scenario(tiny, ["strategy=fedloge", "federation.rounds=50", "evaluation.every=50", "local.lr=0.02"])
    run = fedlt.run(scenario, out=tmp_path)
    for name in NAMES:
        assert {f"personal[{name}]/accuracy", f"personal_masked[{name}]/accuracy"} <= set(run.final)
    assert {f"generic[{name}]/few" for name in ("realigned", "psi", "simplex")} <= set(run.final)
    assert run.final["generic/accuracy"] == run.final["generic[realigned]/accuracy"]
    assert run.final["personal/accuracy"] == run.final["personal[realigned]/accuracy"]
    assert set(run.rounds["bytes_up"]) == set(run.rounds["bytes_down"]) == {4 * 3 * (1040 + 170 + 32)}

    parts = assemble(scenario, federate(scenario), torch.device("cpu"))
    final, kept = load_file(run.folder / "model.safetensors"), load_file(run.folder / "clients.safetensors")
    simplex = final["simplex.weight"]
    assert torch.equal(simplex, parts.model.get_parameter("simplex.weight"))
    assert int((simplex == 0).sum()) == int(0.6 * 160)
    assert torch.equal(final["local_head.weight"], parts.model.get_parameter("local_head.weight"))
    assert sorted(kept) == [f"{client}/private" for client in range(6)]
    assert not torch.equal(final["head.weight"], parts.model.get_parameter("head.weight"))


@pytest.mark.slow
def test_without_the_simplex_it_is_fedavg_with_further_heads(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The ablation: psi and the backbone are FedAvg's, bit for bit, and what is said of the simplex is left out."""
    run = fedlt.run(tiny, "strategy=fedloge", "strategy.backbone_from=psi", out=tmp_path)
    plain = fedlt.run(tiny, out=tmp_path)
    ours, theirs = (load_file(each.folder / "model.safetensors") for each in (run, plain))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert run.final["generic[psi]/accuracy"] == plain.final["generic/accuracy"]
    assert "generic[simplex]/accuracy" not in run.final


def test_each_personal_head_starts_from_its_own_numbers(tiny: dict[str, Any]) -> None:
    """Also that of a client which is evaluated before it was ever sampled."""
    scenario = load_scenario(tiny, ["strategy=fedloge", "local.lr=1e-9"])
    worker = Worker(scenario, federate(scenario))
    shared, heads = worker.context.flat.shared.clone(), []
    for number in (0, 1):
        report = worker.run(Job(scenario.to_dict(), scenario.hash, 1, [Work(blocks={0: [number]})], shared))
        heads.append(report.states[number]["private"])
        worker.run(Job(scenario.to_dict(), scenario.hash, 2, [Work(personal=[number])], shared))
        assert torch.allclose(worker.context.flat.private, heads[-1], atol=1e-6)
    assert not torch.allclose(heads[0], heads[1], atol=1e-2)


def test_a_masked_prediction_is_never_an_absent_class(tiny: dict[str, Any]) -> None:
    scenario = load_scenario(tiny, ["strategy=fedloge"])
    worker = Worker(scenario, federate(scenario))
    clients = list(range(6))
    report = worker.run(
        Job(scenario.to_dict(), scenario.hash, 1, [Work(personal=clients)], worker.context.flat.shared.clone())
    )
    wrong = dict.fromkeys(("personal", "personal_masked"), 0)
    for client in clients:
        absent = worker.context.federation.counts(client) == 0
        for kind in wrong:
            for name in ["", *NAMES]:
                wrong[kind] += int(matrices(report)[f"{kind}:{name}", client].predicted[absent].sum())
    assert wrong["personal_masked"] == 0 < wrong["personal"]


def test_forty_clients_variants_cost_one_pass_of_the_test_set(tiny: dict[str, Any]) -> None:
    changes = [
        "strategy=fedloge",
        "federation.clients=40",
        "federation.local_test=matched",
        "data.longtail.largest=120",
    ]
    scenario = load_scenario(tiny, [*changes, "evaluation.batch_size=32"])
    federation = federate(scenario)
    worker = Worker(scenario, federation)
    passed: list[int] = []
    worker.context.model.backbone.register_forward_hook(lambda module, inputs, output: passed.append(len(output)))
    units = evaluation_units(len(federation.y_test), 32, True, range(40), federation.tests.sizes, shared=True)
    shared = worker.context.flat.shared.clone()
    seen = set()
    for unit in units:
        report = worker.run(Job(scenario.to_dict(), scenario.hash, 2, [unit.work], shared))
        assert not report.failures
        seen |= set(matrices(report))
    assert {("personal_masked:readme", client) for client in range(40)} <= seen
    assert sum(passed) == len(federation.y_test)


# The official settings ------------------------------------------------------------------------------------------------

OFFICIAL = {  # the first clients' sizes, the number of all samples, and of local test samples, as the official logs say
    "fedloge_a": ([226, 200, 143, 400, 329, 90], 13996, 9850),
    "fedloge_b": ([215, 141, 207, 171, 243, 132], 12406, 9829),
    "fedloge_c": ([265, 279, 338, 591, 172, 409], 13996, 9828),
    "fedloge_e": ([557, 682, 644, 784, 649, 592], 12608, 9261),
    "fedloge_g": ([570, 712, 662, 720, 618, 725], 12608, 9142),
    "fedloge_cifar100_if100_a05_k40": ([264, 285, 233, 378, 283, 185], 10847, 8636),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_scenarios_deal_as_the_official_code_does(name: str) -> None:
    first, samples, tests = OFFICIAL[name]
    dealt = plan(load_scenario(name))  # from public class counts: no image is needed
    assert dealt.client_counts.sum(1)[:6].tolist() == first
    assert (dealt.client_counts.sum(), dealt.test_counts.sum()) == (samples, tests)


def test_all_official_settings_are_there_and_differ_where_they_should() -> None:
    scenarios = [load_scenario(f"fedloge_{letter}") for letter in "abcdefgh"]
    found = [
        (s.data.name, s.federation.partition.options["alpha"], s.data.longtail.imbalance_factor, s.federation.clients)
        for s in scenarios
    ]
    cifar10 = [("cifar10", alpha, factor, 40) for alpha in (0.5, 1.0) for factor in (50, 100)]
    assert found == cifar10 + [("cifar100", alpha, factor, 20) for alpha in (0.5, 1.0) for factor in (50, 100)]
    for s in scenarios:
        assert (s.federation.participation, s.federation.rounds, s.local.batch_size) == (1.0, 500, 8)
        assert (
            s.strategy.options["norm"] == 0.1
            and s.model.name == {"cifar10": "resnet18", "cifar100": "resnet34"}[s.data.name]
        )
