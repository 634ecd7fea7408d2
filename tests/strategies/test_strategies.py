"""The built-in strategies against arithmetic of their own, and what holds for every strategy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import fedlt
from clients.worker import Worker
from fedlt.config import catalog
from fedlt.config.scenario import Scenario, load_scenario
from fedlt.config.sections import Local
from fedlt.data.federation import federate
from fedlt.data.task import Task
from fedlt.errors import ScenarioError
from fedlt.exchange import Job, Report, Work
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.nn.norm import BatchNorm
from fedlt.strategy import Server, Strategy, Update, combine
from fedlt.training.assembly import assemble
from server.flower_strategy import FlowerStrategy
from server.grids.local import set_identity
from strategies.fedavg import FedAvg
from strategies.fedprox import FedProx
from strategies.local import Local as LocalStrategy
from tests.evaluations import matrices

Vector = NDArray[np.float64]


def server_of(weights: list[float]) -> Server:
    """A generic model whose shared vector is given; one linear layer without bias."""
    net = Net(nn.Identity(), nn.Linear(len(weights), 1, bias=False), len(weights))
    server = Server(net, Flat(net), Task("single", 2, (len(weights),), np.ones(2, np.int64)))
    server.weights = torch.tensor(weights)
    return server


def update(client: int, weight: float, weights: list[float], **sums: torch.Tensor) -> Update:
    return Update((client,), weight, torch.tensor(weights) * weight, sums)


# Averaging ------------------------------------------------------------------------------------------------------------


def test_fedavg_is_the_mean_weighted_by_samples() -> None:
    """(30 * 1 + 10 * 5) / 40 = 2 and (30 * 4 + 10 * 0) / 40 = 3."""
    server = server_of([9.0, 9.0])
    FedAvg().aggregate(server, [update(0, 30, [1.0, 4.0]), update(1, 10, [5.0, 0.0])])
    assert server.weights.tolist() == [2.0, 3.0]


def test_combining_adds_up_and_leaves_its_parts_as_they_are() -> None:
    parts = [update(4, 1, [1.0], a=torch.ones(2)), update(2, 3, [5.0], a=torch.ones(2), b=torch.ones(1))]
    whole = combine(iter(parts))
    assert (whole.clients, whole.weight, whole.mean.tolist()) == ((4, 2), 4, [4.0])
    assert {name: value.tolist() for name, value in whole.sums.items()} == {"a": [2.0, 2.0], "b": [1.0]}
    assert (parts[0].total.tolist(), parts[0].sums["a"].tolist(), list(parts[0].sums)) == ([1.0], [1.0, 1.0], ["a"])
    with pytest.raises(ValueError, match="no update to combine"):
        combine([])


def worker_of(scenario: Scenario) -> Worker:
    return Worker(scenario, federate(scenario))


def job(worker: Worker, round: int, work: Work, **fields: Any) -> Job:
    scenario, shared = worker.context.scenario, fields.pop("shared", worker.context.flat.shared.clone())
    return Job(scenario.to_dict(), scenario.hash, round, [work], shared, **fields)


def trained(worker: Worker, blocks: dict[int, list[int]], shared: torch.Tensor, **fields: Any) -> Report:
    report = worker.run(job(worker, 1, Work(blocks=blocks), shared=shared, **fields))
    assert not report.failures, report.failures[0].traceback
    return report


def test_a_folded_block_is_the_sum_of_its_clients(tiny: dict[str, Any], own_file: Callable[..., Path]) -> None:
    """One block of clients 1, 3, 4 against each of them by itself, and against a strategy that is not foldable."""
    worker = worker_of(load_scenario(tiny))
    start = worker.context.flat.shared.clone()
    folded = trained(worker, {0: [1, 3, 4]}, start).updates[0]
    alone = [trained(worker, {0: [client]}, start).updates[0][0] for client in (1, 3, 4)]
    sizes = worker.context.federation.clients.sizes[[1, 3, 4]]
    assert len(set(sizes.tolist())) == 3  # unequal, or the weights would not be tested
    assert (len(folded), folded[0].clients, folded[0].weight) == (1, (1, 3, 4), sizes.sum())
    expected = sum(size * part.mean.double() for size, part in zip(sizes.tolist(), alone, strict=True)) / sizes.sum()
    assert torch.allclose(folded[0].mean, expected.float(), atol=1e-6)  # type: ignore[union-attr]
    assert not torch.allclose(folded[0].mean, start, atol=1e-3)

    plain = own_file("@dataclass(frozen=True)\nclass Plain(Strategy):\n    foldable: ClassVar[bool] = False\n")
    single = trained(worker_of(load_scenario(tiny, [f"strategy={plain}:Plain"])), {0: [1, 3, 4]}, start).updates[0]
    assert [part.clients for part in single] == [(1,), (3,), (4,)]
    assert torch.equal(combine(single).total, folded[0].total)


# FedProx --------------------------------------------------------------------------------------------------------------


def softmax_gradient(weights: Vector, x: Vector, y: NDArray[np.int64]) -> Vector:
    """Gradient of the mean cross-entropy of softmax(x W^T + b); weights: W (2 x 3) row by row, then b (2)."""
    scores = x @ weights[:6].reshape(2, 3).T + weights[6:]
    error = np.exp(scores) / np.exp(scores).sum(1, keepdims=True) - np.eye(2)[y]
    return np.concatenate([(error.T @ x).ravel(), error.sum(0)]) / len(y)


@pytest.mark.parametrize("mu", [0.0, 2.0])
def test_fedprox_pulls_towards_the_received_weights(make_client: Any, mu: float) -> None:
    """Two full-batch steps: w <- w - lr (g(w) + mu (w - w_received))."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)).astype(np.float32), np.array([0, 1, 1, 0])
    client = make_client(
        Net(nn.Identity(), nn.Linear(3, 2), 3), x, y, Local(epochs=2, batch_size=4, lr=0.5, momentum=0.0)
    )
    received = client.start.numpy().astype(np.float64)
    FedProx(mu).fit(client)
    ends = {}
    for pull in (0.0, mu):
        w = received
        for _ in range(2):
            w = w - 0.5 * (softmax_gradient(w, x.astype(np.float64), y) + pull * (w - received))
        ends[pull] = w
    assert np.allclose(client.flat.shared.numpy(), ends[mu], atol=1e-6)
    if mu:
        assert np.abs(ends[mu] - ends[0.0]).max() > 0.05  # without the term the test above would fail


@pytest.mark.slow
def test_fedprox_without_pull_is_fedavg(tiny: dict[str, Any], tmp_path: Path) -> None:
    runs = [
        fedlt.run(tiny, *overrides, out=tmp_path).summary["model_hash"]
        for overrides in (
            ["strategy=fedavg"],
            ["strategy=fedprox", "strategy.mu=0"],
            ["strategy=fedprox", "strategy.mu=1"],
        )
    ]
    assert runs[0] == runs[1] != runs[2]


# Local and centralized ------------------------------------------------------------------------------------------------


def test_local_shares_nothing_and_has_no_generic_figures(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "strategy=local", out=tmp_path)
    assert {name.split("/")[0] for name in run.final} == {"personal", "personal_masked"}
    assert run.classes.empty
    assert run.rounds["bytes_up"].tolist() == run.rounds["bytes_down"].tolist() == [0, 0]
    server = server_of([1.0])
    LocalStrategy().aggregate(server, [update(0, 1, [5.0])])
    assert server.weights.tolist() == [1.0]


def test_local_clients_go_on_from_their_own_models(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Replayed client by client: the weights of a round's cohort change, from where each client left them."""
    from safetensors.torch import load_file

    scenario = load_scenario(tiny, ["strategy=local", "federation.rounds=3"])
    run = fedlt.run(scenario, out=tmp_path)
    kept = load_file(run.folder / "clients.safetensors")
    worker = worker_of(scenario)
    states: dict[int, dict[str, torch.Tensor]] = {}
    rounds_of: dict[int, int] = {}
    for number in (1, 2, 3):
        cohort = sorted(fedlt.process.seeding.generator(0, "cohort", number).choice(6, 3, replace=False).tolist())
        for client in cohort:
            rounds_of[client] = rounds_of.get(client, 0) + 1
            held = {client: states[client]} if client in states else {}
            report = worker.run(job(worker, number, Work(blocks={0: [client]}), states=held))
            before = held.get(client, {"private": worker.context.initial_private})["private"]
            assert not torch.equal(report.states[client]["private"], before)
            states |= report.states
    assert max(rounds_of.values()) > 1
    assert sorted(kept) == [f"{client}/private" for client in sorted(states)]
    assert all(torch.equal(kept[f"{client}/private"], state["private"]) for client, state in states.items())
    first, second, *_ = (state["private"] for state in states.values())
    assert not torch.equal(first, second)


def test_centralized_does_the_cohorts_work_on_the_union(tiny: dict[str, Any], tmp_path: Path) -> None:
    changes = ["strategy=centralized", "local.epochs=3", "federation.rounds=3"]
    run = fedlt.run(tiny, *changes, out=tmp_path)
    sizes = federate(load_scenario(tiny)).clients.sizes
    cohorts = [fedlt.process.seeding.generator(0, "cohort", number).choice(6, 3, replace=False) for number in (1, 2, 3)]
    assert run.rounds["samples"].tolist() == [3 * sizes[cohort].sum() for cohort in cohorts]
    assert run.rounds["clients"].tolist() == [1, 1, 1]
    assert run.final["personal/clients"] == 6
    assert "generic/accuracy" in run.final
    assert not (run.folder / "clients.safetensors").exists()


def test_the_union_is_every_clients_data(tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path) -> None:
    sizes = federate(load_scenario(tiny)).clients.sizes
    look = own_file(
        "@dataclass(frozen=True)\nclass Look(Strategy):\n    scope: ClassVar[str] = 'centralized'\n\n"
        "    def fit(self, client):\n"
        f"        assert (client.id, client.num_samples) == (-1, {sizes.sum()})\n"
        "        assert torch.equal(client.class_counts, torch.bincount(client.data.y, minlength=10))\n"
        f"        assert client.epoch_size < {sizes.sum()}\n"
    )
    assert fedlt.run(tiny, f"strategy={look}:Look", out=tmp_path).status == "finished"


# Flower's strategies --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _identity() -> None:
    set_identity(run_id=1)


UPDATES = [
    [update(0, 30, [1.0, 0.0, -2.0]), update(1, 10, [3.0, 4.0, 2.0])],
    [update(2, 5, [2.0, -1.0, 0.5]), update(0, 15, [0.0, 1.0, 0.5])],
]
MEANS = [np.array([1.5, 1.0, -1.0]), np.array([0.5, 0.5, 0.5])]
START = [0.5, 0.5, 0.5]


def through_disk(state: dict[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file, save_file

    save_file({name: value.contiguous() for name, value in state.items()}, folder / "state.safetensors")
    return load_file(folder / "state.safetensors")


def rounds(strategy: Strategy, folder: Path, saved: bool) -> list[Vector]:
    server = server_of(START)
    seen = []
    for number, updates in enumerate(UPDATES, 1):
        server.round = number
        strategy.aggregate(server, updates)
        seen.append(server.weights.numpy().astype(np.float64))
        if saved:
            server.state = through_disk(server.state, folder)
    return seen


@pytest.mark.parametrize("saved", [False, True])
def test_fedadam_is_adam_on_the_mean_update(tmp_path: Path, saved: bool) -> None:
    """Reddi et al., ICLR 2021, Algorithm 2, with Flower's bias correction of the rate by round + 1."""
    eta, beta_1, beta_2, tau = 0.3, 0.8, 0.95, 0.01
    w, m, v = np.array(START), np.zeros(3), np.zeros(3)
    expected = []
    for number, mean in enumerate(MEANS, 1):
        step = mean - w
        m = beta_1 * m + (1 - beta_1) * step
        v = beta_2 * v + (1 - beta_2) * step**2
        rate = eta * np.sqrt(1 - beta_2 ** (number + 1)) / (1 - beta_1 ** (number + 1))
        w = w + rate * m / (np.sqrt(v) + tau)
        expected.append(w)
    adam = FlowerStrategy("FedAdam", {"eta": eta, "beta_1": beta_1, "beta_2": beta_2, "tau": tau})
    assert np.allclose(rounds(adam, tmp_path, saved), expected, atol=1e-5)


@pytest.mark.parametrize("saved", [False, True])
def test_fedyogi_is_yogi_on_the_mean_update(tmp_path: Path, saved: bool) -> None:
    """Reddi et al., ICLR 2021, Algorithm 2: v moves by the sign of v - step^2."""
    eta, beta_1, beta_2, tau = 0.3, 0.8, 0.95, 0.01
    w, m, v = np.array(START), np.zeros(3), np.zeros(3)
    expected = []
    for mean in MEANS:
        step = mean - w
        m = beta_1 * m + (1 - beta_1) * step
        v = v - (1 - beta_2) * step**2 * np.sign(v - step**2)
        w = w + eta * m / (np.sqrt(v) + tau)
        expected.append(w)
    yogi = FlowerStrategy("FedYogi", {"eta": eta, "beta_1": beta_1, "beta_2": beta_2, "tau": tau})
    assert np.allclose(rounds(yogi, tmp_path, saved), expected, atol=1e-5)


@pytest.mark.parametrize("saved", [False, True])
def test_fedavgm_keeps_its_momentum(tmp_path: Path, saved: bool) -> None:
    """Hsu et al., 2019: velocity <- 0.5 velocity + (w - mean), w <- w - 0.8 velocity."""
    w, velocity = np.array(START), np.zeros(3)
    expected = []
    for mean in MEANS:
        velocity = 0.5 * velocity + (w - mean)
        w = w - 0.8 * velocity
        expected.append(w)
    momentum = FlowerStrategy("FedAvgM", {"server_learning_rate": 0.8, "server_momentum": 0.5})
    assert np.allclose(rounds(momentum, tmp_path, saved), expected, atol=1e-6)


def test_flowers_fedavg_is_ours(tmp_path: Path) -> None:
    assert np.allclose(rounds(FlowerStrategy("FedAvg"), tmp_path, saved=False), MEANS)
    assert np.allclose(rounds(FedAvg(), tmp_path, saved=False), MEANS)


OUTLIER = [update(k, 10, [value, -value]) for k, value in enumerate((1.0, 2.0, 2.75, 4.0, 1e6))]


def test_a_trimmed_mean_drops_both_ends() -> None:
    """beta 0.2 of five clients: one from each end, so the mean of 2, 2.75 and 4."""
    server = server_of([0.0, 0.0])
    FlowerStrategy("FedTrimmedAvg", {"beta": 0.2}).aggregate(server, OUTLIER)
    assert server.weights.tolist() == pytest.approx([8.75 / 3, -8.75 / 3])


def test_krum_takes_the_update_with_the_nearest_neighbours() -> None:
    """5 - 1 - 2 = 2 neighbours, squared distances halved: 1: 1 + 3.06, 2: 0.56 + 1, 2.75: 0.56 + 1.56, 4: 1.56 + 4."""
    server = server_of([0.0, 0.0])
    FlowerStrategy("Krum", {"num_malicious_nodes": 1}).aggregate(server, OUTLIER)
    assert server.weights.tolist() == [2.0, -2.0]


def test_a_median_ignores_the_outlier() -> None:
    server = server_of([0.0, 0.0])
    FlowerStrategy("FedMedian").aggregate(server, OUTLIER)
    assert server.weights.tolist() == [2.75, -2.75]


def normalised(weights: list[float], statistics: list[float]) -> Server:
    """A generic model with these two trainable weights, running mean and running variance."""
    backbone = BatchNorm(1)
    net = Net(backbone, nn.Identity(), 1)
    server = Server(net, Flat(net), Task("single", 2, (1,), np.ones(2, np.int64)))
    assert server.flat.num_trainable == 2
    server.weights = torch.tensor(weights + statistics)
    return server


PRIVATE = {"noise_multiplier": 0.5, "clipping_norm": 0.3}
OPTIONS = {
    "DifferentialPrivacyServerSideFixedClipping": PRIVATE,
    "DifferentialPrivacyServerSideAdaptiveClipping": {"noise_multiplier": 0.2},
    "FedAdam": {"eta": 1.0},
    "FedTrimmedAvg": {"beta": 0.34},
    "FedAvgM": {"server_learning_rate": 2.0, "server_momentum": 0.5},
}
TRAINED = [(10.0, [1.0, -1.0]), (30.0, [2.0, -2.0]), (40.0, [3.0, 0.5])]
STATISTICS = [[0.0, 0.2], [8.0, 1.0], [-4.0, 0.05]]  # of which the first client's are nearest to the others'


@pytest.mark.slow
@pytest.mark.parametrize("name", [name.removeprefix("flower:") for name in catalog.flower_names()])
def test_flowers_strategies_see_trainable_weights_and_buffers_take_the_mean(name: str) -> None:
    """Two rounds. The weights are those of a model without buffers; the variance is (10 * .2 + 30 + 40 * .05) / 80."""
    strategy = FlowerStrategy(name, OPTIONS.get(name, {}))
    plain, with_buffers = server_of([0.5, 0.5]), normalised([0.5, 0.5], [0.0, 1.0])
    for number in (1, 2):
        for server, tails in ((plain, [[], [], []]), (with_buffers, STATISTICS)):
            server.round, server.rng = number, np.random.default_rng(number)
            sent = [update(k, n, w + tail) for k, ((n, w), tail) in enumerate(zip(TRAINED, tails, strict=True))]
            strategy.aggregate(server, sent)
        assert torch.equal(with_buffers.weights[:2], plain.weights)
        assert with_buffers.weights[2:].tolist() == pytest.approx([(240 - 160) / 80, 34 / 80])
    assert not torch.equal(plain.weights, torch.tensor([0.5, 0.5]))


def test_what_flowers_strategies_leave_out_of_account_is_said() -> None:
    def said(name: str, cohort: int, **options: Any) -> str:
        return "; ".join(FlowerStrategy(name, options).remarks(cohort))

    assert said("FedTrimmedAvg", 5, beta=0.2) == said("FedMedian", 5).replace("Median", "TrimmedAvg")
    assert "numbers of samples out of account" in said("FedMedian", 5)
    assert "cuts nothing off: 0.2 of 4 clients is less than one; it takes 5 clients" in said("FedTrimmedAvg", 4)
    assert "cuts nothing off" in said("FedTrimmedAvg", 100, beta=0.0)
    assert "one client" in said("Krum", 8)
    assert "nearest neighbour alone" in said("Krum", 3, num_malicious_nodes=1)
    assert "it is FedAvg" in said("MultiKrum", 4, num_nodes_to_select=4)
    assert said("MultiKrum", 8, num_nodes_to_select=3) == said("FedAvg", 8) == ""
    assert said("FedAvgM", 8, server_momentum=0.5) == "" != said("FedAvgM", 8)
    assert "needs 7 clients a round, and there are 6" in said("Bulyan", 6, num_malicious_nodes=1)
    assert "no use of eta_l" in said("FedAdam", 8)
    assert "buffers are neither clipped nor noised" in said("DifferentialPrivacyServerSideFixedClipping", 8, **PRIVATE)
    with pytest.raises(ScenarioError, match=r"cannot serve 4 clients a round.*too low"):
        said("DifferentialPrivacyServerSideAdaptiveClipping", 4, noise_multiplier=0.5)
    assert said("DifferentialPrivacyServerSideAdaptiveClipping", 6, noise_multiplier=0.5)


def test_a_run_says_the_remarks_of_its_strategy(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fedlt.run(tiny, "strategy=flower:FedTrimmedAvg", out=tmp_path, quiet=False)
    line = "cuts nothing off: 0.2 of 3 clients"
    assert line in capsys.readouterr().out
    assert any(line in path.read_text() for path in run.folder.glob("log*"))


def test_noise_is_drawn_from_the_servers_generator() -> None:
    """Fixed clipping with noise: equal generators give equal models, other generators others."""
    private = FlowerStrategy(
        "DifferentialPrivacyServerSideFixedClipping", {"noise_multiplier": 1.0, "clipping_norm": 1.0}
    )
    ends = []
    for seed in (1, 1, 2):
        server = server_of(START)
        server.round, server.rng = 1, np.random.default_rng(seed)
        private.aggregate(server, UPDATES[0])
        ends.append(server.weights.tolist())
    assert ends[0] == ends[1] != ends[2]


def test_a_flower_strategy_runs_as_a_scenario(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = fedlt.run(tiny, "strategy=flower:FedYogi", "strategy.eta=0.01", out=tmp_path)
    assert run.status == "finished"
    assert run.summary["strategy"] == "flower:FedYogi"
    plain = fedlt.run(tiny, "strategy=flower:FedAvg", out=tmp_path)
    ours = fedlt.run(tiny, out=tmp_path)
    assert plain.final == pytest.approx(ours.final, abs=0.02, nan_ok=True)
    assert run.summary["model_hash"] != plain.summary["model_hash"]


# What every strategy may rely on --------------------------------------------------------------------------------------

HEAD = '''
CALLS = []


@dataclass(frozen=True)
class Heads(Strategy):
    """A private head, and a diary of what the client's own side saw."""

    private: ClassVar[tuple[str, ...]] = ("head.*",)

    def begin(self, client):
        CALLS.append(client.id)
        client.state["rounds"] = torch.zeros(1)

    def fit(self, client):
        if "left" in client.state:
            assert torch.equal(client.state["left"], client.flat.private), "the head is not the one it left"
        assert torch.equal(client.start, client.flat.shared[: client.flat.num_trainable])
        super().fit(client)
        client.state["left"] = client.flat.private.clone()
        client.state["rounds"] += 1
        client.extras["ones"] = torch.ones(3)

    def aggregate(self, server, updates):
        updates = list(updates)
        assert all(len(update.total) == 64 * 16 + 16 for update in updates), "more than the backbone travelled"
        assert sum(float(update.sums["ones"][0]) for update in updates) == len(server.cohort)
        server.state["rounds"] = server.state.get("rounds", torch.zeros(1)) + 1
        super().aggregate(server, updates)
'''


@pytest.mark.slow
def test_a_private_head_stays_with_its_client(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    scenario = load_scenario(
        tiny, [f"strategy={own_file(HEAD)}:Heads", "federation.rounds=3", "federation.participation=1"]
    )
    scenario = load_scenario(scenario.to_dict(), ["evaluation.every=9"])
    calls: list[int] = scenario.strategy.component.load().begin.__globals__["CALLS"]  # type: ignore[attr-defined]
    calls.clear()
    run = fedlt.run(scenario, out=tmp_path)
    assert sorted(calls) == list(range(6))  # each client begins once
    kept = load_file(run.folder / "clients.safetensors")
    assert {name.partition("/")[2] for name in kept} == {"private", "state/rounds", "state/left"}
    assert [float(kept[f"{client}/state/rounds"]) for client in range(6)] == [3.0] * 6
    assert run.rounds["bytes_up"].tolist() == [4 * 6 * (1040 + 3)] * 3
    parts = assemble(scenario, federate(scenario), torch.device("cpu"))
    generic = load_file(run.folder / "model.safetensors")
    assert torch.equal(generic["head.weight"], parts.model.get_parameter("head.weight"))  # the server's never changed
    assert not torch.equal(generic["backbone.1.weight"], parts.model.get_parameter("backbone.1.weight"))
    assert not torch.equal(kept["0/private"], kept["1/private"])


def test_personal_figures_are_those_of_the_private_heads(tiny: dict[str, Any], own_file: Callable[..., Path]) -> None:
    """A head that says 'class k' for client k, whatever the input."""
    worker = worker_of(load_scenario(tiny, [f"strategy={own_file(HEAD)}:Heads"]))
    states = {}
    for client in range(6):
        head = torch.zeros(170)
        head[160 + client] = 1.0
        states[client] = {"private": head}
    report = worker.run(job(worker, 1, Work(personal=list(range(6))), states=states))
    for client in range(6):
        confusion = matrices(report)["personal:", client]
        assert confusion.predicted[client] == confusion.predicted.sum() > 0


FINE_TUNING = '''
@dataclass(frozen=True)
class FineTuned(Strategy):
    """Personal models are trained when they are asked for, and nothing of it may be left for the next client."""

    def personal(self, client, x):
        client.train(self.loss, epochs=2)
        return super().personal(client, x)
'''


def test_fine_tuning_for_one_client_leaves_the_others_alone(
    tiny: dict[str, Any], own_file: Callable[..., Path]
) -> None:
    worker = worker_of(load_scenario(tiny, [f"strategy={own_file(FINE_TUNING)}:FineTuned"]))
    generic = worker_of(load_scenario(tiny))
    start = worker.context.flat.shared.clone()
    together = worker.run(job(worker, 2, Work(chunks=[0], personal=[0, 1, 2]), shared=start))
    assert not together.failures, together.failures[0].traceback
    for client in (0, 1, 2):
        alone = worker.run(job(worker, 2, Work(personal=[client]), shared=start))
        key = ("personal:", client)
        assert matrices(together)[key].encode().tolist() == matrices(alone)[key].encode().tolist()
        plain = generic.run(job(generic, 2, Work(personal=[client]), shared=start))
        assert matrices(plain)[key].encode().tolist() != matrices(alone)[key].encode().tolist()


def test_frozen_parameters_never_change_or_travel(
    tiny: dict[str, Any], own_file: Callable[..., Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    path = own_file(
        '@dataclass(frozen=True)\nclass F(Strategy):\n    frozen: ClassVar[tuple[str, ...]] = ("backbone.*",)\n'
    )
    scenario = load_scenario(tiny, [f"strategy={path}:F", "local.weight_decay=0.1"])
    run = fedlt.run(scenario, out=tmp_path)
    parts = assemble(scenario, federate(scenario), torch.device("cpu"))
    final = load_file(run.folder / "model.safetensors")
    same = {name: torch.equal(final[name], tensor) for name, tensor in parts.flat.tensors.items()}
    assert same == {"backbone.1.weight": True, "backbone.1.bias": True, "head.weight": False, "head.bias": False}
    assert run.rounds["bytes_up"].tolist() == [4 * 3 * 170] * 2


def test_two_equal_jobs_give_equal_bits(tiny: dict[str, Any]) -> None:
    worker = worker_of(load_scenario(tiny, ["strategy=fedprox"]))
    start = worker.context.flat.shared.clone()
    first = trained(worker, {0: [0, 1], 1: [2]}, start)
    trained(worker, {0: [5, 4, 3]}, start * 2)
    again = trained(worker, {0: [0, 1], 1: [2]}, start)
    for block in (0, 1):
        assert torch.equal(first.updates[block][0].total, again.updates[block][0].total)


class Weighted(Strategy):
    """Only for the type of `weight`."""

    value: ClassVar[float] = 0.0

    def weight(self, client: Any) -> float:
        return self.value


@pytest.mark.parametrize("value", [float("nan"), -1.0, float("inf")])
def test_a_senseless_weight_is_refused(tiny: dict[str, Any], value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = worker_of(load_scenario(tiny))
    monkeypatch.setattr(Weighted, "value", value)
    worker.context.strategy = Weighted()
    report = worker.run(job(worker, 1, Work(blocks={0: [3]})))
    assert [failure.client for failure in report.failures] == [3]
    assert f"Weighted.weight gave {value}; return a finite number of at least 0" in report.failures[0].reason
    assert not report.updates
