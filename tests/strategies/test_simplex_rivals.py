"""FedRoD, FedETF, FedGELA, FedAvg with the class prior, FedNPC: their key formulas against NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import fedlt
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Strategy
from strategies.fedavg_la import FedAvgLA
from strategies.fedavg_posthoc import FedAvgPosthoc
from strategies.fedetf import FedETF
from strategies.fedgela import FedGELA
from strategies.fednpc import FedNPC
from strategies.fedrod import FedRoD

pytestmark = pytest.mark.slow

Matrix = NDArray[np.float64]
GLOBAL = np.array([60, 30, 10, 20])  # class counts of the federation
LOCAL = np.array([3, 1, 0, 2])  # of the client
X = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
Y = np.repeat([0, 1, 3], [3, 1, 2])
STEP = Local(epochs=1, batch_size=8, lr=0.5, momentum=0.0)


def client_of(make_client: Any, strategy: Strategy) -> Client:
    """Four inputs as features, four classes, six samples; one full-batch step."""
    torch.manual_seed(3)
    net = Net(nn.Sequential(nn.Linear(4, 4, bias=False)), nn.Linear(4, 4), 4)
    strategy.build(net, Task("single", 4, (4,), GLOBAL))
    client: Client = make_client(net, X, Y, STEP, private=strategy.private, frozen=strategy.frozen)
    client.task, client.class_counts = Task("single", 4, (4,), GLOBAL), torch.tensor(LOCAL)
    return client


def server_of(client: Client) -> Server:
    return Server(client.model, client.flat, client.task)


def tensors(client: Client) -> dict[str, Matrix]:
    return {name: t.numpy().astype(np.float64).copy() for name, t in client.flat.tensors.items()}


def error_of(logits: Matrix) -> Matrix:
    scores = np.exp(logits - logits.max(1, keepdims=True))
    return (scores / scores.sum(1, keepdims=True) - np.eye(4)[Y]) / len(Y)  # type: ignore[no-any-return]


def linear(w: dict[str, Matrix], h: Matrix, head: str = "head") -> Matrix:
    return h @ w[f"{head}.weight"].T + w[f"{head}.bias"]  # type: ignore[no-any-return]


def log(counts: Matrix) -> Matrix:
    with np.errstate(divide="ignore"):
        return np.log(counts)  # type: ignore[no-any-return]


# FedRoD ---------------------------------------------------------------------------------------------------------------


def test_fedrod_trains_a_balanced_generic_and_a_plain_personal_head(make_client: Any) -> None:
    client = client_of(make_client, FedRoD())
    w = tensors(client)
    FedRoD().fit(client)
    h = X @ w["backbone.0.weight"].T
    generic = linear(w, h)
    balanced = error_of(generic + log(LOCAL))
    personal = error_of(generic + linear(w, h, "local_head"))
    expected = {
        "head.weight": w["head.weight"] - 0.5 * balanced.T @ h,
        "local_head.weight": w["local_head.weight"] - 0.5 * personal.T @ h,
        "local_head.bias": w["local_head.bias"] - 0.5 * personal.sum(0),
        "backbone.0.weight": w["backbone.0.weight"] - 0.5 * (balanced @ w["head.weight"]).T @ X,
    }
    found = tensors(client)
    for name, value in expected.items():
        assert np.allclose(found[name], value, atol=1e-5), name
    assert np.all(balanced[:, 2] == 0)  # the absent class is left out of the generic loss

    logits = FedRoD().personal(client, torch.from_numpy(X))
    h = X @ found["backbone.0.weight"].T
    assert list(logits) == ["sum", "generic"]
    assert np.allclose(logits["generic"].detach(), linear(found, h), atol=1e-4)
    assert np.allclose(logits["sum"].detach(), linear(found, h) + linear(found, h, "local_head"), atol=1e-4)


# FedETF and FedGELA ---------------------------------------------------------------------------------------------------


def cosines(w: dict[str, Matrix]) -> Matrix:
    e = X @ w["backbone.0.weight"].T @ w["head.projection.weight"].T + w["head.projection.bias"]
    return e / np.linalg.norm(e, axis=1, keepdims=True) @ w["head.prototypes"].T  # type: ignore[no-any-return]


def loss_of(logits: Matrix) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    return float(-np.log(np.exp(shifted[range(6), Y]) / np.exp(shifted).sum(1)).mean())


def slopes(w: dict[str, Matrix], name: str, logits: Any) -> Matrix:
    """Gradient of the loss of `logits(w)` with respect to one tensor, by differences."""
    gradient = np.zeros_like(w[name])
    for index in np.ndindex(w[name].shape):
        sides = []
        for sign in (1e-5, -1e-5):
            other = {key: value.copy() for key, value in w.items()}
            other[name][index] += sign
            sides.append(loss_of(logits(other)))
        gradient[index] = (sides[0] - sides[1]) / 2e-5
    return gradient


def test_fedetf_learns_by_the_balanced_softmax_of_cosines(make_client: Any) -> None:
    strategy = FedETF(scale=2.0)
    client = client_of(make_client, strategy)
    w = tensors(client)
    assert np.allclose(w["head.prototypes"] @ w["head.prototypes"].T, 4 / 3 * np.eye(4) - 1 / 3, atol=1e-6)
    strategy.fit(client)
    found = tensors(client)
    for name in ("head.scale", "head.projection.weight", "backbone.0.weight"):
        gradient = slopes(w, name, lambda v: v["head.scale"] * cosines(v) + log(np.maximum(LOCAL, 1)))
        assert np.allclose(found[name], w[name] - 0.5 * gradient, atol=1e-4), name
        assert np.abs(gradient).max() > 1e-3
    assert np.array_equal(found["head.prototypes"], w["head.prototypes"])
    assert len(client.flat.private) == 16  # the prototypes, which are never sent


@pytest.mark.parametrize(("kind", "usual", "other"), [(FedETF, 0.6, 0.75), (FedRoD, 0.75, 0.6)])
def test_an_absent_class_counts_as_one_sample_or_not_at_all(
    make_client: Any, kind: type[FedETF | FedRoD], usual: float, other: float
) -> None:
    """Counts 3, 1, 0 and logits of zero: -log(3 / 5) = .511 in FedETF's code, -log(3 / 4) = .288 in the formula.

    FedRoD's plain loss of the sum of both heads is log 3 beside it.
    """
    other_absent = 0.0 if kind is FedETF else 1.0
    for strategy, share in ((kind(), usual), (kind(absent=other_absent), other)):
        net = Net(nn.Identity(), nn.Linear(3, 3), 3)
        strategy.build(net, Task("single", 3, (3,), np.array([3, 1, 0])))
        client = make_client(net, np.ones((4, 3)), [0, 0, 0, 1], STEP, private=strategy.private)
        client.class_counts = torch.tensor([3, 1, 0])
        with torch.no_grad():
            for tensor in client.flat.tensors.values():
                tensor.zero_()
        loss = strategy.loss(client, client.data.batch(torch.tensor([0]))).item()
        assert np.isclose(loss, -np.log(share) + (np.log(3) if kind is FedRoD else 0), atol=1e-6)


def test_fedetf_tunes_prototypes_and_projection_for_one_client(make_client: Any) -> None:
    """One turn of one epoch each: first the prototypes, then the projection, both with plain cross-entropy."""
    strategy = FedETF(scale=2.0, turns=1, tune_epochs=1, tune_lr=0.3)
    client = client_of(make_client, strategy)
    w = tensors(client)
    strategy.adapt(client)
    found = tensors(client)
    for name in ("head.prototypes", "head.projection.weight"):
        gradient = slopes(w, name, lambda v: v["head.scale"] * cosines(v))
        assert np.allclose(found[name], w[name] - 0.3 * gradient, atol=1e-4), name
        w[name] = found[name]
    assert np.array_equal(found["backbone.0.weight"], w["backbone.0.weight"])
    assert np.array_equal(found["head.scale"], w["head.scale"])

    generic = client_of(make_client, FedETF(turns=0))
    before = tensors(generic)
    FedETF(turns=0).adapt(generic)
    assert all(np.array_equal(value, before[name]) for name, value in tensors(generic).items())


def test_fedgela_scales_the_simplex_by_the_clients_frequencies(make_client: Any) -> None:
    """Rows times 4 n_kc / 6 = 2, 2/3, 0, 4/3; the generic model has them as they are."""
    strategy = FedGELA(temperature=0.2)
    client = client_of(make_client, strategy)
    w = tensors(client)
    ratio = np.array([2, 2 / 3, 0, 4 / 3])
    logits = strategy.personal(client, torch.from_numpy(X))
    assert list(logits) == ["scaled", "generic"]
    assert np.allclose(logits["scaled"].detach(), 5 * cosines(w) * ratio, atol=1e-5)
    assert np.allclose(logits["generic"].detach(), 5 * cosines(w), atol=1e-5)
    assert torch.equal(torch.as_tensor(strategy.generic(server_of(client), torch.from_numpy(X))), logits["generic"])
    strategy.fit(client)
    found = tensors(client)
    for name in ("head.projection.weight", "backbone.0.weight"):
        gradient = slopes(w, name, lambda v: 5 * cosines(v) * ratio)
        assert np.allclose(found[name], w[name] - 0.5 * gradient, atol=1e-4), name
    assert all(np.array_equal(found[name], w[name]) for name in ("head.prototypes", "head.scale"))


# The class prior ------------------------------------------------------------------------------------------------------


def test_logit_adjustment_in_training_uses_the_global_prior(make_client: Any) -> None:
    strategy = FedAvgLA(tau=0.5)
    client = client_of(make_client, strategy)
    w = tensors(client)
    h = X @ w["backbone.0.weight"].T
    error = error_of(linear(w, h) + 0.5 * np.log(GLOBAL / 120))
    strategy.fit(client)
    assert np.allclose(tensors(client)["head.weight"], w["head.weight"] - 0.5 * error.T @ h, atol=1e-5)

    w = tensors(client)
    plain = linear(w, X @ w["backbone.0.weight"].T)
    logits = strategy.personal(client, torch.from_numpy(X))
    assert np.allclose(logits["generic"].detach(), plain, atol=1e-5)
    assert np.allclose(logits["own_prior"].detach(), plain + log(LOCAL / 6), atol=1e-5)


def test_post_hoc_corrections(make_client: Any) -> None:
    strategy = FedAvgPosthoc(tau=2.0, tau_norm=0.5)
    client = client_of(make_client, strategy)
    w = tensors(client)
    h = X @ w["backbone.0.weight"].T
    plain, adjustment = linear(w, h), 2 * np.log(GLOBAL / 120)
    norms = np.linalg.norm(w["head.weight"], axis=1)
    normed = h @ (w["head.weight"] / norms[:, None] ** 0.5 * norms.mean()).T
    expected = {
        "adjusted": plain - adjustment,
        "plain": plain,
        "tau_norm": normed,
        "tau_norm_adjusted": normed - adjustment,
    }
    found = strategy.generic(server_of(client), torch.from_numpy(X))
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert np.allclose(found[name].detach(), value, atol=1e-5), name
    personal = strategy.personal(client, torch.from_numpy(X))
    assert list(personal) == ["plain", "own_prior"]
    assert np.allclose(personal["own_prior"].detach(), plain - np.log(GLOBAL / 120) + log(LOCAL / 6), atol=1e-5)


def test_fednpc_retrains_the_head_on_noise_once(make_client: Any) -> None:
    """Two steps of softmax regression with momentum, on the noise that the server's generator gives."""
    strategy = FedNPC(noise=50, epochs=2)
    client = client_of(make_client, strategy)
    server, w = server_of(client), tensors(client)
    server.rng = np.random.default_rng(7)
    found = strategy.generic(server, torch.from_numpy(X))
    assert list(found)[:3] == ["npc", "npc_adjusted", "adjusted"]

    generator = torch.Generator().manual_seed(int(np.random.default_rng(7).integers(2**62)))
    weight, bias = w["head.weight"], w["head.bias"]
    step, shift = np.zeros_like(weight), np.zeros_like(bias)
    for _ in range(2):
        z = torch.randn(50, 4, generator=generator).numpy().astype(np.float64)
        y = torch.randint(4, (50,), generator=generator).numpy()
        scores = np.exp(z @ weight.T + bias)
        error = (scores / scores.sum(1, keepdims=True) - np.eye(4)[y]) / 50
        step, shift = 0.9 * step + error.T @ z, 0.9 * shift + error.sum(0)
        weight, bias = weight - 0.1 * step, bias - 0.1 * shift
    npc = X @ w["backbone.0.weight"].T @ weight.T + bias
    assert np.allclose(found["npc"].detach(), npc, atol=1e-5)
    assert np.allclose(found["npc_adjusted"].detach(), npc - np.log(GLOBAL / 120), atol=1e-5)
    again = strategy.generic(server, torch.from_numpy(X))["npc"]
    assert torch.equal(again, found["npc"])  # not trained on, nor anew
    assert np.array_equal(tensors(client)["head.weight"], w["head.weight"])


def test_noise_evens_out_the_row_norms(make_client: Any) -> None:
    client = client_of(make_client, FedNPC())
    client.flat.tensors["head.weight"].mul_(torch.tensor([[8.0], [2.0], [1.0], [1.0]]))
    weight = FedNPC().retrain(server_of(client))[:, :-1]
    before, after = (
        norms.max() / norms.min() for norms in (client.flat.tensors["head.weight"].norm(dim=1), weight.norm(dim=1))
    )
    assert after < before / 2


def test_noise_stops_before_the_head_turns_round(make_client: Any) -> None:
    """The descent ends at equal rows, and its momentum goes on: after 27 steps the head has changed its sign."""
    client = client_of(make_client, FedNPC())
    server, trained = server_of(client), client.flat.tensors["head.weight"]

    def agreement(weight: torch.Tensor) -> float:
        first, second = ((rows - rows.mean(0)).flatten() for rows in (weight, trained))
        return float(first @ second / first.norm() / second.norm())

    assert agreement(FedNPC(likeness=-1.0).retrain(server)[:, :-1]) < -0.3
    assert 0.95 <= agreement(FedNPC().retrain(server)[:, :-1]) < 0.995  # as far as it may go, and not less far


# In a run -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fedrod", "fedetf", "fedgela", "fedavg_la", "fedavg_posthoc", "fednpc"])
def test_each_runs_and_is_no_fedavg(tiny: dict[str, Any], tmp_path: Path, name: str) -> None:
    run = fedlt.run(tiny, f"strategy={name}", out=tmp_path)
    plain = fedlt.run(tiny, out=tmp_path)
    same = run.summary["model_hash"] == plain.summary["model_hash"]
    assert same == (name in ("fedavg_posthoc", "fednpc"))  # which train as FedAvg does
    if same:
        assert run.final["generic[plain]/accuracy"] == plain.final["generic/accuracy"]
        assert run.final["personal/accuracy"] == plain.final["personal/accuracy"]


def test_heads_trained_on_features_leave_the_backbones_features_valid(make_client: Any) -> None:
    """So that forty clients may tune their heads and the test set still passes the backbone once."""
    client = client_of(make_client, FedETF())
    version = client.model.backbone_version()
    FedETF().adapt(client)
    assert client.model.backbone_version() == version
    client.train(FedETF().loss, only=("backbone.*",))
    assert client.model.backbone_version() != version


def test_a_strategy_knows_the_budget_of_rounds(tiny: dict[str, Any]) -> None:
    from fedlt.config.scenario import load_scenario
    from fedlt.data.federation import federate
    from fedlt.training.assembly import assemble

    scenario = load_scenario(tiny, ["federation.rounds=7"])
    assert assemble(scenario, federate(scenario), torch.device("cpu")).task.rounds == 7
