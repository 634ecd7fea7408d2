"""FedDF: the teacher, the distillation, what validation decides, and that it reads no label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fedlt
from fedlt.blocks.ensemble import ask, divergence
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate
from fedlt.data.inputs import shaped
from fedlt.data.site import Rows
from fedlt.data.task import Task
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.strategy import Server, Update
from fedlt.training.at_server import ServerTrainer
from strategies.feddf import FedDF, accuracy

X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def rows(labels: list[int]) -> Rows:
    inputs = shaped((2,)).open(X.numpy(), torch.device("cpu"))
    return Rows(inputs, torch.tensor(labels), torch.arange(len(labels)))


def server_of(**fields: Any) -> Server:
    """Logits are the two features times a 2 x 2 matrix, the whole of the shared vector."""
    net = Net(nn.Identity(), nn.Linear(2, 2, bias=False), 2)
    task = Task("single", 2, (2,))
    given = {"unlabelled": rows([-1, -1, -1]), "rng": np.random.default_rng(0), **fields}
    return Server(net, Flat(net), task, learner=CrossEntropy(), **given)


def updates(*matrices: list[float], weights: tuple[float, ...] = (1.0, 1.0)) -> list[Update]:
    vectors = zip(matrices, weights, strict=True)
    return [Update((client,), weight, weight * torch.tensor(m)) for client, (m, weight) in enumerate(vectors)]


def test_the_teacher_is_the_mean_of_the_logits_client_by_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """At (1, 0) one client says (2, 0), the other (0, 1): softmax(1, .5) = .62246; alike, whatever their weights."""
    asked: dict[int, Tensor] = {}

    def seen(teacher: Tensor, student: Tensor) -> Tensor:
        asked.update({len(asked): teacher.softmax(1)})
        return divergence(teacher, student)

    monkeypatch.setattr("strategies.feddf.divergence", seen)
    server = server_of(unlabelled=Rows(rows([-1]).inputs, torch.tensor([-1]), torch.arange(1)))
    given = updates([2.0, 5.0, 0.0, 5.0], [0.0, 5.0, 1.0, 5.0], weights=(9.0, 1.0))
    FedDF(steps=2, batch=8).aggregate(server, given)
    assert [t.tolist() for t in asked.values()] == [
        [[pytest.approx(0.62246, abs=1e-5), pytest.approx(0.37754, abs=1e-5)]]
    ] * 2


def test_only_the_samples_that_it_uses_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of two out of three samples: the student sees those whose teachers were asked."""
    asked: list[int] = []

    def counted(server: Server, vectors: Any, given: Rows, of: Any) -> Tensor:
        asked.append(len(given))
        return ask(server, vectors, given, of)

    monkeypatch.setattr("strategies.feddf.ask", counted)
    FedDF(steps=1, batch=2).aggregate(server_of(), updates([1.0, 2, 3, 4], weights=(1.0,)))
    assert asked == [2]


def test_the_divergence_is_that_of_the_student_from_the_teacher() -> None:
    teacher, student = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.0, 0.0]])
    p = 0.62246
    expected = p * np.log(p / 0.5) + (1 - p) * np.log((1 - p) / 0.5)
    assert divergence(teacher, student).item() == pytest.approx(expected, abs=1e-5)
    assert divergence(teacher, teacher + 3).item() == pytest.approx(0, abs=1e-6)
    assert divergence(teacher.repeat(4, 1), student.repeat(4, 1)).item() == pytest.approx(expected, abs=1e-5)


def test_the_mean_learns_what_the_clients_say_together() -> None:
    """Clients count alike in the teacher and by their samples in the mean: nine against one."""
    server = server_of()
    FedDF(steps=400, batch=3, lr=0.1).aggregate(server, updates([4.0, 0, 0, 4], [0.0, 4, 4, 0], weights=(9.0, 1.0)))
    student = server.model(X[:1])[0]
    assert (student[0] - student[1]).item() == pytest.approx(0, abs=0.05)  # the mean alone: 3.2
    plain = server_of()
    FedDF(steps=0).aggregate(plain, updates([4.0, 0, 0, 4], [0.0, 4, 4, 0], weights=(9.0, 1.0)))
    assert torch.allclose(plain.weights, torch.tensor([3.6, 0.4, 0.4, 3.6]))


def test_one_client_teaches_its_own_model_nothing() -> None:
    server = server_of()
    FedDF(steps=10).aggregate(server, updates([1.0, 2, 3, 4], weights=(2.0,)))
    assert torch.allclose(server.weights, torch.tensor([1.0, 2, 3, 4]), atol=0.011)  # at most a step of Adam each


def test_the_rate_falls_to_nothing_over_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr("strategies.feddf.ServerTrainer.train", lambda self, loss, batches, lr: seen.extend(lr))
    FedDF(steps=4, lr=1.0).aggregate(server_of(), updates([1.0, 2, 3, 4], weights=(1.0,)))
    assert seen == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-5)


@pytest.mark.parametrize(("labels", "keeps_the_mean"), [([0, 1, 0], True), ([1, 0, 1], False)])
def test_validation_keeps_the_best_and_ends_early(
    labels: list[int], keeps_the_mean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean says 0, 1 and, in doubt, 0; the clients together, counted alike, tend to 1, 0, and 1."""
    taken: list[int] = []
    step = ServerTrainer._step

    def counted(self: ServerTrainer, loss: Tensor, lr: float) -> None:
        taken.append(1)
        step(self, loss, lr)

    monkeypatch.setattr(ServerTrainer, "_step", counted)
    server = server_of(validation=rows(labels))
    given = updates([1.0, 0, 0, 0.9], [0.0, 3, 3.1, 0], weights=(9.0, 1.0))
    FedDF(steps=400, batch=3, lr=0.1, check=10, patience=20).aggregate(server, given)
    mean = torch.tensor([0.9, 0.3, 0.31, 0.81])
    assert torch.allclose(server.weights, mean) is keeps_the_mean
    assert (accuracy(server, rows(labels)) == 1) and len(taken) < 400
    assert len(taken) == 20 or not keeps_the_mean


def test_accuracy_is_the_share_that_is_right() -> None:
    server = server_of()
    server.weights = torch.tensor([1.0, 0, 0, 0.5])
    assert accuracy(server, rows([0, 1, 1])) == pytest.approx(2 / 3)


def test_labels_of_what_it_learns_from_decide_nothing(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The same pictures with other labels, as a file that has none."""
    federation = federate(load_scenario(tiny))
    np.savez(tmp_path / "own.npz", x=np.array(federation.x_train[federation.server_unlabelled]))
    small = "strategy={name: feddf, steps: 3, batch: 16}"
    one = fedlt.run(tiny, small, out=tmp_path)
    two = fedlt.run(tiny, small, f"data.server_unlabelled.file={tmp_path / 'own.npz'}:x", out=tmp_path)
    assert one.summary["model_hash"] == two.summary["model_hash"]
