"""FedIC: the calibrated ensemble by hand, its training, the three phases, and what goes on from round to round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.blocks.ensemble import ask, divergence
from fedlt.data.inputs import shaped
from fedlt.data.site import Rows
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.strategy import Server, Update
from strategies.fedic import FedIC, calibrated, features_and_logits, weights_of

X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, -1.0]])
CLIENTS = [[4.0, 0, 0, 4], [0.0, 4, 4, 0]]


def rows(labels: list[int]) -> Rows:
    inputs = shaped((2,)).open(X.numpy(), torch.device("cpu"))
    return Rows(inputs, torch.tensor(labels), torch.arange(len(labels)))


def server_of(strategy: FedIC, **fields: Any) -> Server:
    """Logits are the two features times a 2 x 2 matrix, the whole of the shared vector."""
    net = Net(nn.Identity(), nn.Linear(2, 2, bias=False), 2)
    given = {"auxiliary": rows([0, 1, 0, 1]), "unlabelled": rows([-1] * 4), "rng": np.random.default_rng(0), **fields}
    server = Server(net, Flat(net), Task("single", 2, (2,)), **given)
    strategy.setup(server)
    return server


def updates() -> list[Update]:
    return [Update((client,), 1.0, torch.tensor(matrix)) for client, matrix in enumerate(CLIENTS)]


def test_at_first_a_client_counts_by_the_sum_of_its_logits() -> None:
    """Logits (1, 0) and (3, 1): sigmoid(1) and sigmoid(4) are .426753 and .573247 of their sum."""
    logits = torch.tensor([[[1.0, 0.0]], [[3.0, 1.0]]])
    weights = weights_of(logits, torch.ones(2), torch.zeros(1))
    assert weights.flatten().tolist() == pytest.approx([0.426753, 0.573247], abs=1e-6)
    assert (weights[..., None] * logits).sum(0)[0].tolist() == pytest.approx([2.14649, 0.57325], abs=1e-5)


def test_clients_of_low_logits_alone_count_in_proportion() -> None:
    """The sigmoids of -300 and -301 are zero in float32, and their ratio is e."""
    weights = weights_of(torch.tensor([[[-300.0, 0.0]], [[-301.0, 0.0]]]), torch.ones(2), torch.zeros(1))
    assert weights.flatten().tolist() == pytest.approx([0.731059, 0.268941], abs=1e-5)


def test_the_teacher_is_between_the_calibrated_ensemble_and_the_tuned_model() -> None:
    """Mean feature (2, 1) and gate (1, -1) with bias -1: sigmoid(0), half of each. Spread (2, 1), shift (0, 1)."""
    found = torch.tensor([[[1.0, 0, 1, 0]], [[3.0, 2, 3, 1]], [[9.0, 9, -1, 5]]])
    vector = torch.tensor([1.0, 1, 0, 2, 1, 0, 1, 1, -1, -1])
    expected = [0.5 * 2 * 2.14649 - 0.5, 0.5 * (0.57325 + 1) + 2.5]
    assert calibrated(vector, found, 2)[0].tolist() == pytest.approx(expected, abs=1e-5)
    closed = vector.clone()
    closed[-1] = -100
    assert calibrated(closed, found, 2)[0].tolist() == pytest.approx([-1, 5])


def test_it_begins_with_ones_zeros_and_a_gate_that_is_drawn() -> None:
    first = server_of(FedIC()).state["fedic/calibration"]
    assert first[:7].tolist() == [1, 1, 0, 1, 1, 0, 0] and len(first) == 10
    assert 0 < first[7:].abs().max() <= 2**-0.5
    assert first.equal(server_of(FedIC()).state["fedic/calibration"])


def test_the_calibration_follows_adam_over_the_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds of two full batches, in order, are four steps of PyTorch's Adam, whose moments go on."""
    monkeypatch.setattr("strategies.fedic.passes", lambda rng, n, count, device: torch.arange(n).repeat(count // n))
    strategy = FedIC(steps=2, batch=4, lr=0.1)
    server = server_of(strategy)
    y, vectors = torch.tensor([0, 1, 0, 1]), [torch.tensor(v) for v in [*CLIENTS, [1.0, 0, 0, 1]]]
    found = ask(server, vectors, rows([0, 1, 0, 1]), features_and_logits)
    leaf = server.state["fedic/calibration"].clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(calibrated(leaf, found, 2), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for _ in range(2):
        strategy.calibrate(server, y, found)
    assert torch.allclose(server.state["fedic/calibration"], leaf, atol=1e-5)
    assert int(server.state["fedic/adam/steps"]) == 4


def test_calibration_fits_the_ensemble_to_the_labels() -> None:
    """One client is wrong at all four samples and the other at one: the teacher is to be at least as right as they are
    in the mean, and surer than it was.
    """
    strategy = FedIC(steps=200, batch=4, lr=0.05)
    server = server_of(strategy)
    y = torch.tensor([1, 0, 1, 1])
    found = ask(server, [torch.tensor(v) for v in [*CLIENTS, [1.0, 0, 0, 1]]], rows([0] * 4), features_and_logits)
    before = calibrated(server.state["fedic/calibration"], found, 2)
    strategy.calibrate(server, y, found)
    teacher = calibrated(server.state["fedic/calibration"], found, 2)
    clients = found[:2, :, -2:]
    assert F.cross_entropy(teacher, y) < 0.5 * F.cross_entropy(before, y)
    assert (teacher.argmax(1) == y).float().mean() > (clients.argmax(2) == y).float().mean()


def test_the_student_begins_at_the_mean_and_the_copy_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the copy of the mean learns in the first phase stays out of the next model but for the teacher."""
    from fedlt.training.at_server import ServerTrainer

    begun: list[Tensor] = []
    train = ServerTrainer.train

    def seen(self: ServerTrainer, *given: Any) -> None:
        begun.append(self.server.weights.clone())
        train(self, *given)

    monkeypatch.setattr(ServerTrainer, "train", seen)
    strategy = FedIC(steps=3, batch=2, unlabelled_batch=2, lr=0.01)
    server = server_of(strategy)
    strategy.aggregate(server, updates())
    mean = torch.tensor([2.0, 2, 2, 2])
    assert len(begun) == 2 and all(each.equal(mean) for each in begun)
    assert 0 < (server.weights - mean).abs().max() < 0.04  # three steps of Adam


def test_moments_of_both_models_go_on_and_stand_apart() -> None:
    strategy = FedIC(steps=3, batch=2, unlabelled_batch=2)
    server = server_of(strategy)
    for rounds in (1, 2):
        strategy.aggregate(server, updates())
        counted = [int(server.state[f"fedic/{name}/steps"]) for name in ("tuned", "student", "adam")]
        assert counted == [3 * rounds] * 3
    assert not server.state["fedic/tuned/mean"].equal(server.state["fedic/student/mean"])


def test_both_parts_of_the_distillation_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """label=1: no teacher; label=0: labels reach the student through the teacher alone, at temperature 2."""

    def trained(label: float, temperature: float = 2.0) -> Tensor:
        strategy = FedIC(steps=5, batch=4, unlabelled_batch=4, label=label, temperature=temperature)
        server = server_of(strategy)
        strategy.aggregate(server, updates())
        return server.weights.clone()

    found = [trained(1.0), trained(0.5), trained(0.0), trained(0.0, 1.0)]
    assert not any(one.equal(other) for number, one in enumerate(found) for other in found[:number])
    assert trained(1.0, 1.0).equal(found[0])


def test_the_divergence_is_not_multiplied_by_the_temperatures_square() -> None:
    teacher, student = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0, 0.0]])
    p = 0.62246  # softmax(1, .5)
    expected = p * np.log(2 * p) + (1 - p) * np.log(2 - 2 * p)
    assert divergence(teacher, student, 2.0).item() == pytest.approx(expected, abs=1e-5)


def test_fewer_samples_than_a_batch_are_all_taken() -> None:
    strategy = FedIC(steps=2)
    server = server_of(strategy, unlabelled=rows([-1]), auxiliary=rows([0, 1]))
    strategy.aggregate(server, updates()[:1])
    assert server.weights.isfinite().all()
