"""Personalised strategies: their steps against NumPy, what stays private, and accuracy under conflicting tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

import fedlt
from fedlt.config import catalog
from fedlt.config.scenario import load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.nn.net import Net
from fedlt.nn.norm import BatchNorm, expanded
from fedlt.strategy import Client, Server, Strategy, Update
from fedlt.training.assembly import assemble
from strategies.apfl import APFL
from strategies.ditto import Ditto
from strategies.fedavg_ft import FedAvgFT
from strategies.fedbabu import FedBABU
from strategies.fedbn import FedBN
from strategies.fednh import FedNH, PrototypeHead
from strategies.fedper import FedPer
from strategies.fedrep import FedRep
from strategies.knnper import KNNPer

pytestmark = pytest.mark.slow

Vector = NDArray[np.float64]
N, DIM, HIDDEN, CLASSES = 8, 3, 2, 2
LR = 0.3


def data() -> tuple[Vector, NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, DIM)).astype(np.float32).astype(np.float64), np.array([0, 1, 1, 0, 1, 1, 1, 0])


class Two:
    """Two linear layers without bias, softmax on top: body [2, 3], head [2, 2]."""

    def __init__(self, body: Vector, head: Vector) -> None:
        self.body, self.head = body, head

    def gradients(self) -> tuple[Vector, Vector]:
        """Of the mean cross-entropy over `data()`, with respect to body and head."""
        x, y = data()
        features = x @ self.body.T
        scores = features @ self.head.T
        error = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True) - np.eye(CLASSES)[y]) / N
        return (error @ self.head).T @ x, error.T @ features

    def step(self, body: float, head: float) -> None:
        """One step of gradient descent; 0 leaves a layer as it is."""
        down, up = self.gradients()
        self.body, self.head = self.body - body * down, self.head - head * up

    @property
    def vector(self) -> Vector:
        return np.concatenate([self.body.ravel(), self.head.ravel()])


def client_of(make_client: Any, strategy: Strategy, epochs: int = 1, lr: float = LR, **fields: Any) -> Client:
    """A client with full batches that has begun."""
    torch.manual_seed(5)
    net = Net(nn.Linear(DIM, HIDDEN, bias=False), nn.Linear(HIDDEN, CLASSES, bias=False), HIDDEN)
    strategy.build(net, Task("single", CLASSES, (DIM,)))
    x, y = data()
    local = Local(epochs=epochs, batch_size=N, lr=lr, momentum=0.0)
    client: Client = make_client(net, x, y, local, private=strategy.private, **fields)
    strategy.begin(client)
    return client


def two(client: Client) -> Two:
    weights = (client.flat.tensors[name].double().numpy().copy() for name in ("backbone.weight", "head.weight"))
    return Two(*weights)


def assert_is(client: Client, expected: Two) -> None:
    found = two(client)
    assert np.allclose(found.body, expected.body, atol=1e-6)
    assert np.allclose(found.head, expected.head, atol=1e-6)


# Steps ----------------------------------------------------------------------------------------------------------------


def test_fedper_trains_both_and_keeps_the_head(make_client: Any) -> None:
    client = client_of(make_client, FedPer(), epochs=2)
    expected = two(client)
    FedPer().fit(client)
    for _ in range(2):
        expected.step(LR, LR)
    assert_is(client, expected)
    assert len(client.flat.shared) == HIDDEN * DIM


def test_fedrep_trains_the_head_first_and_the_body_after_it(make_client: Any) -> None:
    strategy = FedRep(head_epochs=3, head_lr=0.5)
    client = client_of(make_client, strategy, epochs=2)
    expected = two(client)
    strategy.fit(client)
    for _ in range(3):
        expected.step(0, 0.5)
    for _ in range(2):
        expected.step(LR, 0)
    assert_is(client, expected)


def test_fedbabu_leaves_the_head_alone_until_it_is_tuned(make_client: Any) -> None:
    strategy = FedBABU(tune="head", tune_epochs=2, tune_lr=0.7)
    client = client_of(make_client, strategy)
    expected = two(client)
    strategy.fit(client)
    expected.step(LR, 0)
    assert_is(client, expected)
    strategy.adapt(client)
    for _ in range(2):
        expected.step(0, 0.7)
    assert_is(client, expected)
    FedBABU(tune_epochs=1).adapt(client)  # unless told otherwise, at a tenth of the scenario's rate
    expected.step(LR / 10, LR / 10)
    assert_is(client, expected)


def test_fedavg_ft_tunes_what_it_received(make_client: Any) -> None:
    client = client_of(make_client, FedAvgFT())
    expected = two(client)
    FedAvgFT(tune_epochs=2, tune_lr=0.1).adapt(client)
    for _ in range(2):
        expected.step(0.1, 0.1)
    assert_is(client, expected)
    FedAvgFT(tune="head").adapt(client)
    expected.step(0, LR)
    assert_is(client, expected)


def test_ditto_pulls_its_own_model_towards_the_received_one(make_client: Any) -> None:
    """Two rounds, another model received in the second: v <- v - lr (g(v) + lam (v - received))."""
    strategy = Ditto(lam=0.8, own_epochs=3)
    client = client_of(make_client, strategy, epochs=2)
    own = two(client)
    for number in range(2):
        received = two(client) if number == 0 else Two(np.full((2, 3), 0.2), np.full((2, 2), -0.1))
        client.flat.load_shared(torch.from_numpy(received.vector).float())
        client.start = client.flat.shared.clone()
        strategy.fit(client)
        for _ in range(3):
            down, up = own.gradients()
            own = Two(
                own.body - LR * (down + 0.8 * (own.body - received.body)),
                own.head - LR * (up + 0.8 * (own.head - received.head)),
            )
        expected = Two(received.body, received.head)
        for _ in range(2):
            expected.step(LR, LR)
        assert_is(client, expected)  # what is sent is FedAvg's
        assert np.allclose(client.state["own"], own.vector, atol=1e-6)
    strategy.adapt(client)
    assert_is(client, own)


@pytest.mark.parametrize("adaptive", [True, False])
def test_apfl_trains_its_private_model_through_the_mixture(make_client: Any, adaptive: bool) -> None:
    """w <- w - lr g(w); v <- v - lr a g(m); a <- a - lr <v - w, g(m)>, with m = a v + (1 - a) w."""
    strategy = APFL(share=0.25, adaptive=adaptive)
    client = client_of(make_client, strategy, epochs=3)
    with torch.no_grad():  # or v would equal w, and the share would not matter
        client.flat.tensors["own.backbone.weight"].mul_(-0.5)
    w, share = two(client), 0.25
    v = Two(-0.5 * w.body, w.head.copy())
    strategy.fit(client)
    for _ in range(3):
        mixed = Two(share * v.body + (1 - share) * w.body, share * v.head + (1 - share) * w.head)
        down, up = mixed.gradients()
        slope = ((v.body - w.body) * down).sum() + ((v.head - w.head) * up).sum()
        w.step(LR, LR)
        v = Two(v.body - LR * share * down, v.head - LR * share * up)
        share -= LR * slope if adaptive else 0.0
    assert_is(client, w)
    assert np.allclose(client.flat.tensors["own.backbone.weight"], v.body, atol=1e-6)
    assert float(client.flat.tensors["share"]) == pytest.approx(share, abs=1e-6)
    assert not adaptive or abs(share - 0.25) > 0.003
    strategy.adapt(client)
    assert_is(client, Two(share * v.body + (1 - share) * w.body, share * v.head + (1 - share) * w.head))


def test_apfl_trains_the_shared_model_as_fedavg_does_to_the_bit(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Running statistics too: the mixture's forward pass moves its own, which the private model holds."""
    short = ["model=resnet8", "federation.participation=1", "local.momentum=0.9"]
    models = {}
    for name in ("fedavg", "apfl", "apfl strategy.mix=logits"):
        run = fedlt.run(tiny, *short, *f"strategy={name}".split(), out=tmp_path)
        models[name] = load_file(run.folder / "model.safetensors")
    shared = models["fedavg"]
    assert any("running_var" in name for name in shared)
    for other in list(models)[1:]:
        assert [name for name, tensor in shared.items() if not torch.equal(tensor, models[other][name])] == []


def test_apfls_mixture_has_running_statistics_of_its_own(make_client: Any) -> None:
    """One step on inputs of mean 2 and, without Bessel's correction, variance 1; the statistics move by a tenth.

    w = 1 and v = 3 with share 1/2 make the mixture 2: after a linear layer its batch has mean 4 and variance 4, the
    shared model's mean 2 and variance 1.
    """
    strategy = APFL(share=0.5)
    net = Net(nn.Sequential(nn.Linear(1, 1, bias=False), Flattened()), nn.Linear(1, 2), 1)
    strategy.build(net, Task("single", 2, (1,)))
    x = np.array([[1.0], [3.0], [1.0], [3.0]])
    client = make_client(net, x, [0, 1, 1, 0], Local(epochs=1, batch_size=4, lr=1e-9), private=strategy.private)
    with torch.no_grad():
        client.flat.tensors["backbone.0.weight"].fill_(1.0)
        client.flat.tensors["own.backbone.0.weight"].fill_(3.0)
    strategy.fit(client)
    found = {name: float(tensor) for name, tensor in client.flat.tensors.items() if "running" in name}
    assert found["backbone.1.norm.running_mean"] == pytest.approx(0.2)
    assert found["backbone.1.norm.running_var"] == pytest.approx(0.9 + 0.1 * 4 / 3)
    assert found["own.backbone.1.norm.running_mean"] == pytest.approx(0.4)
    assert found["own.backbone.1.norm.running_var"] == pytest.approx(0.9 + 0.1 * 16 / 3)
    strategy.adapt(client)
    assert float(client.flat.tensors["backbone.1.norm.running_mean"]) == pytest.approx(0.4)


def test_a_loss_at_other_weights_leaves_running_statistics_alone_unless_given(make_client: Any) -> None:
    """Inputs of mean 2: the given running mean moves a tenth of the way, in place; the model's own stays 0."""
    net = Net(Flattened(), nn.Linear(1, 2), 1)
    client = make_client(net, [[1.0], [3.0]], [0, 1], Local())
    batch, loss = client.data.batch(torch.arange(2)), FedPer().loss
    net.train()
    client.loss_at({"head.weight": torch.ones(2, 1)}, loss, batch)
    assert net.get_buffer("backbone.norm.running_mean").tolist() == [0.0]
    mean = torch.tensor([1.0])
    client.loss_at({"backbone.norm.running_mean": mean}, loss, batch)
    assert mean.tolist() == pytest.approx([1.1])
    assert net.get_buffer("backbone.norm.running_mean").tolist() == [0.0]
    assert net.get_buffer("backbone.norm.running_var").tolist() == [1.0]


def test_apfl_may_mix_logits(make_client: Any) -> None:
    """v <- v - lr a g, a <- a - lr <v(x) - w(x), dl/dlogits>, at the logits a v(x) + (1 - a) w(x)."""
    strategy = APFL(share=0.25, mix="logits")
    client = client_of(make_client, strategy)
    with torch.no_grad():
        client.flat.tensors["own.backbone.weight"].mul_(-0.5)
    w, (x, y) = two(client), data()
    v = Two(-0.5 * w.body, w.head.copy())

    def logits(model: Two) -> Vector:
        return x @ model.body.T @ model.head.T  # type: ignore[no-any-return]

    def error(scores: Vector) -> Vector:
        return (np.exp(scores) / np.exp(scores).sum(1, keepdims=True) - np.eye(CLASSES)[y]) / N  # type: ignore[no-any-return]

    slope = error(0.25 * logits(v) + 0.75 * logits(w))
    strategy.fit(client)
    share = 0.25 - LR * (slope * (logits(v) - logits(w))).sum()
    w.step(LR, LR)
    body = v.body - LR * 0.25 * (slope @ v.head).T @ x
    assert_is(client, w)
    assert np.allclose(client.flat.tensors["own.backbone.weight"], body, atol=1e-6)
    assert float(client.flat.tensors["share"]) == pytest.approx(share, abs=1e-6)
    strategy.adapt(client)
    assert_is(client, w)
    own = Two(body, v.head - LR * 0.25 * slope.T @ (x @ v.body.T))
    found = strategy.personal(client, torch.from_numpy(x).float())
    assert isinstance(found, torch.Tensor)
    assert np.allclose(found.detach(), share * logits(own) + (1 - share) * logits(w), atol=1e-5)


class Flattened(nn.Module):
    """Batch normalisation of features [B, D]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = BatchNorm(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x[:, :, None, None])[:, :, 0, 0]  # type: ignore[no-any-return]


def test_apfl_keeps_the_share_between_0_and_1(make_client: Any) -> None:
    for share in (0.0, 1.0):
        strategy = APFL(share=share)
        client = client_of(make_client, strategy, epochs=40, lr=2.0)
        with torch.no_grad():
            client.flat.tensors["own.head.weight"].mul_(-3)
        strategy.fit(client)
        assert 0 <= float(client.flat.tensors["share"]) <= 1


def test_knnper_mixes_the_vote_of_the_nearest_with_the_prediction(make_client: Any) -> None:
    strategy = KNNPer(neighbours=3, mix=0.4, scale=0.5)
    client = client_of(make_client, strategy)
    strategy.adapt(client)
    queries = np.array([[0.3, -0.2, 1.0], [-1.0, 0.5, 0.1]])
    found = strategy.personal(client, torch.from_numpy(queries).float()).exp().detach().numpy()
    model, (x, y) = two(client), data()
    for query, row in zip(queries, found, strict=True):
        feature = model.body @ query
        squares = ((x @ model.body.T - feature) ** 2).sum(1)
        near = np.argsort(squares)[:3]
        votes = np.exp(-squares[near] / (0.5 * HIDDEN))
        neighbours = np.array([votes[y[near] == c].sum() for c in range(CLASSES)]) / votes.sum()
        scores = np.exp(model.head @ feature)
        assert np.allclose(row, 0.4 * neighbours + 0.6 * scores / scores.sum(), atol=1e-5)


def test_fednh_smooths_class_means_into_its_prototypes(make_client: Any) -> None:
    """Two clients, three classes of which nobody has the last; means count by the clients' samples of the class."""
    strategy = FedNH(rho=0.7)
    rng = np.random.default_rng(1)
    clients, inputs, labels = [], [], ([0, 0, 1, 0], [1, 0])
    for y in labels:
        torch.manual_seed(0)
        net = Net(nn.Linear(DIM, 4, bias=False), nn.Linear(4, 3), 4)
        strategy.build(net, Task("single", 3, (DIM,)))
        inputs.append(rng.normal(size=(len(y), DIM)).astype(np.float32))
        local = Local(epochs=1, batch_size=8, lr=0.1)
        client = make_client(net, inputs[-1], y, local)
        client.class_counts = torch.bincount(torch.tensor(y), minlength=3)
        clients.append(client)
    server = Server(clients[0].model, clients[0].flat, Task("single", 3, (DIM,)))
    old = server.model.get_buffer("head.prototypes").double().numpy().copy()
    assert np.allclose(old @ old.T, 1.5 * np.eye(3) - 0.5, atol=1e-6)  # the simplex
    updates, met = [], np.zeros((3, 4))
    for client, x, y in zip(clients, inputs, labels, strict=True):
        before = client.model.backbone.weight.detach().clone()  # type: ignore[union-attr, operator]
        strategy.fit(client)
        updates.append(Update((0,), len(y), client.flat.shared * len(y)))
        body = client.model.backbone.weight.detach()  # type: ignore[union-attr, operator]
        assert not torch.equal(before, body)
        features = x.astype(np.float64) @ body.double().numpy().T
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        for label in set(y):
            mean = features[np.array(y) == label].mean(0)
            met[label] += y.count(label) * mean / np.linalg.norm(mean)
    server.model.get_buffer("head.prototypes").copy_(torch.from_numpy(old))
    strategy.aggregate(server, updates)
    expected = 0.7 * old
    expected[:2] += 0.3 * met[:2] / np.linalg.norm(met[:2], axis=1, keepdims=True)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(server.model.get_buffer("head.prototypes"), expected, atol=1e-5)


def test_fednhs_prototypes_may_start_orthogonal() -> None:
    seen = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        net = Net(nn.Linear(DIM, 4, bias=False), nn.Linear(4, 3), 4)
        FedNH(prototypes="orthogonal").build(net, Task("single", 3, (DIM,)))
        seen.append(net.get_buffer("head.prototypes"))
        assert torch.allclose(seen[-1] @ seen[-1].T, torch.eye(3), atol=1e-6)
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[0], seen[2], atol=1e-2)
    with pytest.raises(ValueError, match="3 orthogonal prototypes need as many features, and there are 2"):
        FedNH(prototypes="orthogonal").build(Net(nn.Identity(), nn.Linear(2, 3), 2), Task("single", 3, (2,)))


@pytest.mark.parametrize("kind", [FedBABU, Ditto, FedBN])
def test_clients_may_count_alike(make_client: Any, kind: type[FedBABU | Ditto | FedBN]) -> None:
    """By their samples unless asked for: 8 here; 1 in the official codes."""
    net = Net(nn.Linear(DIM, HIDDEN, bias=False), nn.Linear(HIDDEN, CLASSES, bias=False), HIDDEN)
    client = make_client(net, *data(), Local())
    assert (kind().weight(client), kind(equal=True).weight(client)) == (8, 1)


def test_fednhs_head_gives_scaled_cosines() -> None:
    head = PrototypeHead(torch.tensor([[0.6, 0.8], [1.0, 0.0]]), 10.0)
    assert head(torch.tensor([[3.0, 4.0]])).tolist() == [pytest.approx([10.0, 6.0])]


@pytest.mark.parametrize("name", [n for n in catalog.names("model") if n.startswith("resnet")])
def test_fedbn_finds_every_normalisation_layer_of_our_models(name: str) -> None:
    model: Net = catalog.find("model", name).load()().build(Task("single", 10, (3, 32, 32)))
    tensors = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    layers = [name for name, module in model.named_modules() if isinstance(module, BatchNorm)]
    found = expanded(model, FedBN.private, tensors)
    assert layers
    assert {name.rpartition(".")[0] for name in found} == {*layers}
    assert all("norm" in name for name in found)  # and nothing else


def test_fedbn_finds_normalisation_by_its_type(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Torchvision calls such layers bn1, a Sequential calls them 1."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net(num_classes):\n    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), "
        "nn.BatchNorm1d(8), nn.ReLU(), nn.LayerNorm(8))\n    return nn.Sequential(body, nn.Linear(8, num_classes))\n",
        encoding="utf-8",
    )
    model = f"model={tmp_path}/net.py:net"
    scenario = load_scenario(tiny, [model, "strategy=fedbn"])
    flat = assemble(scenario, federate(scenario), torch.device("cpu")).flat
    private = [name for name in flat.tensors if flat.is_private(name)]
    of_batch = [f"backbone.0.2.{what}" for what in ("weight", "bias", "running_mean", "running_var")]
    assert sorted(private) == sorted([*of_batch, "backbone.0.4.weight", "backbone.0.4.bias"])

    for changes, message in (
        (["strategy=fedbn"], "the model has no normalisation layer; take one that has"),
        ([model, "strategy=fedbn", "model.freeze=true"], "all that clients would keep is frozen"),
    ):
        refused = load_scenario(tiny, changes)
        with pytest.raises(ScenarioError, match=message):
            assemble(refused, federate(refused), torch.device("cpu"))


# Conflicting tasks ----------------------------------------------------------------------------------------------------


def write(path: Path, x: tuple[NDArray[Any], ...], y: tuple[NDArray[Any], ...], site: tuple[NDArray[Any], ...]) -> None:
    names = [f"{name}_{split}" for name in "xy" for split in ("train", "test")] + ["site_train", "site_test"]
    np.savez(path, **dict(zip(names, [*x, *y, *site], strict=True)))  # type: ignore[arg-type]


def play(path: Path, out: Path, strategy: str, *changes: str) -> float:
    """Personal accuracy after some rounds with every client, each on test samples of its own site."""
    scenario = {
        "data": {"name": str(path), "group_columns": ["site"]},
        "federation": {
            "clients": None,
            "participation": 1.0,
            "rounds": 8,
            "partition": {"name": "natural", "column": "site"},
            "local_test": "natural",
        },
        "local": {"epochs": 2, "batch_size": 20, "lr": 0.1, "momentum": 0.9},
        "model": {"name": "mlp", "width": 32, "depth": 1},
        "evaluation": {"every": 100},
    }
    return fedlt.run(scenario, f"strategy={strategy}", *changes, out=out).final["personal/accuracy"]


def conflicting_labels(path: Path) -> None:
    """Four sites see the same four blobs and name them differently: site s calls blob b class b + s, modulo 4."""
    rng = np.random.default_rng(0)
    x, y, site = [], [], []
    for count in (160, 160):
        blob, where = np.arange(count) % 4, np.arange(count) // 4 % 4
        x.append((3 * np.eye(4)[blob] + 0.5 * rng.normal(size=(count, 4))).astype(np.float32))
        y.append((blob + where) % 4)
        site.append(where)
    write(path, tuple(x), tuple(y), tuple(site))


@pytest.mark.parametrize("name", ["fedper", "fedrep", "ditto", "knnper", "apfl", "fedavg_ft", "fedbabu"])
def test_personal_models_solve_conflicting_tasks_and_fedavg_cannot(tmp_path: Path, name: str) -> None:
    """At best a common model is right for one site in four. At its own rate FedBABU would need more passes."""
    conflicting_labels(tmp_path / "labels.npz")
    changes = {"knnper": ["strategy.mix=0.9"], "fedbabu": ["strategy.tune_lr=0.1"]}.get(name, [])
    own, common = (play(tmp_path / "labels.npz", tmp_path, *run) for run in ([name, *changes], ["fedavg"]))
    print(name, own, common)
    assert common < 0.4
    assert own > max(0.8, common + 0.5)


def shifted_sensors(path: Path) -> None:
    """Four sites photograph two classes, dim and bright; what is bright at site s is what is dim at site s + 1."""
    rng = np.random.default_rng(0)
    x, y, site = [], [], []
    for count in (320, 160):
        label, where = np.arange(count) % 2, np.arange(count) // 2 % 4
        level = 40 + 40 * (label + where)
        x.append((level[:, None, None, None] + rng.integers(-8, 9, (count, 8, 8, 1))).astype(np.uint8))
        y.append(label)
        site.append(where)
    write(path, tuple(x), tuple(y), tuple(site))


def test_fedbn_solves_shifted_sensors_and_fedavg_cannot(tmp_path: Path) -> None:
    shifted_sensors(tmp_path / "sensors.npz")
    changes = ["model=resnet8", "model.stem_stride=2", "federation.rounds=5"]
    common, own = (play(tmp_path / "sensors.npz", tmp_path, name, *changes) for name in ("fedavg", "fedbn"))
    print("fedbn", own, common)
    assert own > max(0.9, common + 0.25)


def test_nothing_private_is_sent(tiny: dict[str, Any], tmp_path: Path) -> None:
    """64 x 16 + 16 numbers of the backbone, 16 x 10 + 10 of the head; three clients a round."""
    whole, body = 1040 + 170, 1040
    sent = {"ditto": whole, "apfl": whole, "knnper": whole, "fedavg_ft": whole, "fednh": body + 160 + 1}
    sent |= {"fedper": body, "fedrep": body, "fedbabu": body}
    for name, numbers in sent.items():
        run = fedlt.run(tiny, f"strategy={name}", "federation.rounds=1", out=tmp_path)
        assert run.rounds["bytes_up"].tolist() == run.rounds["bytes_down"].tolist() == [3 * 4 * numbers], name
        assert ("generic/accuracy" in run.final) == (name not in ("fedper", "fedrep")), name
