"""FedAvgM, SCAFFOLD, FedNova and FedDyn on softmax regression: their steps against NumPy, and where they converge to.

Clients hold unequal numbers of samples of nearly one class each, and take unequal numbers of full-batch steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import fedlt
from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.nn.norm import BatchNorm
from fedlt.strategy import Client, Server, Strategy, Update
from strategies.climb import CLIMB
from strategies.fedavg import FedAvg
from strategies.fedavgm import FedAvgM
from strategies.feddyn import FedDyn
from strategies.fednova import FedNova
from strategies.scaffold import SCAFFOLD

pytestmark = pytest.mark.slow

Vector = NDArray[np.float64]
DIM, CLASSES = 3, 3
SIZES, STEPS = (6, 12, 18), (2, 7, 4)


@dataclass(frozen=True)
class Problem:
    """x, y: samples of each client. steps: of each client in a round. decay: weight of |w|^2 / 2."""

    x: list[Vector]
    y: list[NDArray[np.int64]]
    steps: Sequence[int] = STEPS
    lr: float = 0.3
    momentum: float = 0.0
    decay: float = 0.1

    @property
    def shares(self) -> Vector:
        sizes = np.array([len(y) for y in self.y], float)
        return sizes / sizes.sum()

    def gradient(self, client: int, w: Vector) -> Vector:
        """Of the client's mean cross-entropy plus decay / 2 |w|^2; w: weight (C x D) row by row, then bias (C)."""
        x, y = self.x[client], self.y[client]
        scores = x @ w[: CLASSES * DIM].reshape(CLASSES, DIM).T + w[CLASSES * DIM :]
        error = np.exp(scores) / np.exp(scores).sum(1, keepdims=True) - np.eye(CLASSES)[y]
        return np.concatenate([(error.T @ x).ravel(), error.sum(0)]) / len(y) + self.decay * w

    def optimum(self, shares: Vector) -> Vector:
        """Where the gradients, weighted by the shares, cancel."""
        w = np.zeros(CLASSES * (DIM + 1))
        for _ in range(4000):
            w = w - 0.5 * sum(s * self.gradient(k, w) for k, s in enumerate(shares)) / sum(shares)
        return w


def problem(**fields: Any) -> Problem:
    rng = np.random.default_rng(3)
    centres = 1.5 * rng.normal(size=(CLASSES, DIM))
    labels = [np.array([k] * (size - 2) + [(k + 1) % 3, (k + 2) % 3]) for k, size in enumerate(SIZES)]
    inputs = [centres[y] + rng.normal(size=(len(y), DIM)) for y in labels]
    return Problem([x.astype(np.float32).astype(np.float64) for x in inputs], labels, **fields)


Walk = Callable[[int, Vector, Callable[[Vector], Vector]], tuple[Vector, float]]


def walk(given: Problem, client: int, start: Vector, extra: Callable[[Vector], Vector]) -> tuple[Vector, float]:
    """A client's steps along its gradient plus `extra`, and how far a constant gradient of one would have gone."""
    w, velocity, pull, travel = start, np.zeros_like(start), 0.0, 0.0
    for _ in range(given.steps[client]):
        velocity = given.momentum * velocity + given.gradient(client, w) + extra(w)
        w = w - given.lr * velocity
        pull = given.momentum * pull + 1
        travel += given.lr * pull
    return w, travel


class Play:
    """The rounds of a strategy on a problem, through the real client, trainer and server objects."""

    def __init__(self, make_client: Any, given: Problem, strategy: Strategy) -> None:
        self.strategy = strategy
        sizes = [len(y) for y in given.y]
        self.clients: list[Client] = []
        for number, (x, y) in enumerate(zip(given.x, given.y, strict=True)):
            local = Local(
                epochs=given.steps[number],
                batch_size=len(y),
                lr=given.lr,
                momentum=given.momentum,
                weight_decay=given.decay,
            )
            self.clients.append(make_client(net(), x, y, local, id=number))
        model = net()
        self.server = Server(model, Flat(model), Task("single", CLASSES, (DIM,)))
        self.server.weights = torch.zeros(CLASSES * (DIM + 1))
        self.server.num_clients, self.server.num_samples = len(sizes), sum(sizes)
        self.server.rng = np.random.default_rng(0)
        strategy.setup(self.server)
        self.begun: set[int] = set()

    def round(self, cohort: Sequence[int]) -> Vector:
        """The generic model after a round."""
        updates = []
        for number in cohort:
            client = self.clients[number]
            client.flat.load_shared(self.server.weights)
            client.start, client.received = client.flat.shared.clone(), self.server.outbox
            client.num_steps, client.travel, client.extras = 0, 0.0, {}
            if number not in self.begun:
                self.begun.add(number)
                self.strategy.begin(client)
            self.strategy.fit(client)
            weight = self.strategy.weight(client)
            updates.append(Update((number,), weight, client.flat.shared * weight, client.extras))
        self.server.round, self.server.cohort = self.server.round + 1, tuple(cohort)
        self.strategy.aggregate(self.server, updates)
        return self.server.weights.double().numpy().copy()


def net() -> Net:
    return Net(nn.Identity(), nn.Linear(DIM, CLASSES), DIM)


COHORTS = ((0, 1, 2), (0, 2), (1, 2), (0, 1, 2))


def nothing(w: Vector) -> Vector:
    return np.zeros_like(w)


def fedavgm(given: Problem) -> list[Vector]:
    """momentum 0.6, lr 0.7."""
    w = velocity = np.zeros(CLASSES * (DIM + 1))
    ends = []
    for cohort in COHORTS:
        p = given.shares[list(cohort)] / given.shares[list(cohort)].sum()
        mean = sum(s * walk(given, k, w, nothing)[0] for s, k in zip(p, cohort, strict=True))
        velocity = 0.6 * velocity + (w - mean)
        w = w - 0.7 * velocity
        ends.append(w)
    return ends


def scaffold(given: Problem) -> list[Vector]:
    """lr 0.8."""
    w, c = (np.zeros(CLASSES * (DIM + 1)) for _ in range(2))
    own = [np.zeros_like(w) for _ in SIZES]
    ends = []
    for cohort in COHORTS:
        p = given.shares[list(cohort)] / given.shares[list(cohort)].sum()
        moved, change = np.zeros_like(w), np.zeros_like(w)
        for s, k in zip(p, cohort, strict=True):
            end, travel = walk(given, k, w, lambda _, k=k, c=c: c - own[k])  # type: ignore[misc]
            new = own[k] - c + (w - end) / travel
            moved, change = moved + s * (end - w), change + given.shares[k] * (new - own[k])
            own[k] = new
        w, c = w + 0.8 * moved, c + change
        ends.append(w)
    return ends


def fednova(given: Problem) -> list[Vector]:
    w = np.zeros(CLASSES * (DIM + 1))
    ends = []
    for cohort in COHORTS:
        p = given.shares[list(cohort)] / given.shares[list(cohort)].sum()
        walks = [walk(given, k, w, nothing) for k in cohort]
        direction = sum(s * (w - end) / travel for s, (end, travel) in zip(p, walks, strict=True))
        w = w - sum(s * travel for s, (_, travel) in zip(p, walks, strict=True)) * direction
        ends.append(w)
    return ends


def feddyn(given: Problem) -> list[Vector]:
    """alpha 0.4."""
    w = np.zeros(CLASSES * (DIM + 1))
    own = [np.zeros_like(w) for _ in SIZES]
    ends = []
    for cohort in COHORTS:
        locals_ = []
        for k in cohort:
            alpha = 0.4 / (len(SIZES) * given.shares[k])
            end, _ = walk(given, k, w, lambda v, k=k, a=alpha, w=w: a * (own[k] + v - w))  # type: ignore[misc]
            own[k] = own[k] + end - w
            locals_.append(end)
        w = np.mean(locals_, 0) + np.mean(own, 0)
        ends.append(w)
    return ends


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(
    ("strategy", "reference"),
    [(FedAvgM(0.6, 0.7), fedavgm), (SCAFFOLD(0.8), scaffold), (FedNova(), fednova), (FedDyn(0.4), feddyn)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_four_rounds_are_those_of_the_paper(
    make_client: Any, strategy: Strategy, reference: Callable[[Problem], list[Vector]], momentum: float
) -> None:
    """Unequal clients, unequal steps, partial cohorts."""
    given = problem(momentum=momentum)
    play = Play(make_client, given, strategy)
    plain = Play(make_client, given, FedAvg())
    for cohort, expected in zip(COHORTS, reference(given), strict=True):
        assert np.allclose(play.round(cohort), expected, atol=2e-5)
        assert np.abs(plain.round(cohort) - expected).max() > 0.01  # in disguise it would be FedAvg


def test_feddyn_fades_equally_fast_whatever_the_local_steps(make_client: Any) -> None:
    """Two passes over six samples (the mean size) in fours, at 0.05 with momentum 0.5, move by 0.3: alpha is 1 / 3."""
    local = Local(epochs=2, batch_size=4, lr=0.05, momentum=0.5)
    client = make_client(net(), np.eye(8, DIM), np.arange(8) % CLASSES, local)
    client.received, client.state["drift"] = {"mean_size": torch.tensor([6.0])}, torch.full((12,), 0.5)
    client.start = client.weights().detach() - 2.0
    batch = client.batch(np.arange(8))

    penalty = FedDyn().loss(client, batch) - FedAvg().loss(client, batch)
    terms = 0.5 * client.weights().sum() + 12 * 2.0**2 / 2
    assert penalty.item() == pytest.approx((1 / 3) * (6 / 8) * terms.item(), rel=1e-4)


# Fixed points ---------------------------------------------------------------------------------------------------------


def settled(play: Play, rounds: int) -> Vector:
    """The generic model after so many rounds with every client, where it no longer moves."""
    for _ in range(rounds):
        before, after = play.server.weights.double().numpy().copy(), play.round(range(len(SIZES)))
    assert np.abs(after - before).max() < 1e-5
    return after


def distance(a: Vector, b: Vector) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_scaffold_and_feddyn_reach_the_optimum_of_the_union_and_fedavg_does_not(make_client: Any) -> None:
    """Seen: 1e-7, 3e-7 and 0.16 of the optimum's norm."""
    given = problem(decay=0.3)
    best = given.optimum(given.shares)
    for strategy in (SCAFFOLD(), FedDyn(1.0)):
        assert distance(settled(Play(make_client, given, strategy), 50), best) < 1e-5
    assert distance(settled(Play(make_client, given, FedAvg()), 50), best) > 0.1


def test_fednova_repairs_unequal_numbers_of_steps(make_client: Any) -> None:
    """With small steps FedAvg solves the problem weighted by shares times steps, FedNova that of the union.

    Seen: FedNova 0.038 from the union's optimum and FedAvg 0.20; with half the rate 0.019 and 0.22.
    """
    given = problem(lr=0.02, decay=0.6)
    best, skewed = given.optimum(given.shares), given.optimum(given.shares * np.array(STEPS))
    nova, average = (settled(Play(make_client, given, s), 115) for s in (FedNova(), FedAvg()))
    assert distance(nova, best) < 0.05 < 0.15 < distance(average, best)
    assert distance(average, skewed) < 0.05 < 0.15 < distance(nova, skewed)


@pytest.mark.parametrize(
    "strategy", [SCAFFOLD(lr=2.0), FedAvgM(lr=2.0), FedDyn(), FedNova(), CLIMB()], ids=lambda s: type(s).__name__
)
def test_buffers_take_the_mean_however_the_server_steps(strategy: Strategy) -> None:
    """Variances .2 and .6, weights 1 and 1, from 1: the mean is .4; twice the step from 1 would end at -.2."""
    net = Net(BatchNorm(1), nn.Identity(), 1)
    server = Server(net, Flat(net), Task("single", 2, (1,)), num_clients=2, num_samples=2)
    strategy.setup(server)
    server.weights = torch.tensor([1.0, 0.0, 0.0, 1.0])
    updates = []
    for client, variance in enumerate((0.2, 0.6)):
        sums = {"control": torch.zeros(2), "travel": torch.tensor([1.0])}
        total = torch.tensor([1.0, 0.5, 0.3, variance])
        updates.append(Update((client,), 1.0, total, sums, {"loss": torch.zeros(1)}))
    strategy.aggregate(server, updates)
    assert server.weights[2:].tolist() == pytest.approx([0.3, 0.4])


def test_all_of_them_run_as_scenarios(tiny: dict[str, Any], tmp_path: Any) -> None:
    """On skewed digits each gives a model of its own, and sends what it says."""
    runs = {
        name: fedlt.run(tiny, f"strategy={name}", out=tmp_path)
        for name in ("fedavg", "fedavgm", "scaffold", "fednova", "feddyn")
    }
    assert len({run.summary["model_hash"] for run in runs.values()}) == 5
    up = {name: int(run.rounds["bytes_up"].iloc[0]) for name, run in runs.items()}
    assert up["scaffold"] == 2 * up["fedavg"]
    assert up["fednova"] == up["feddyn"] + 3 * 4 == up["fedavg"] + 3 * 4
