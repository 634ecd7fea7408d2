"""BalanceFL: loss and feature noise against NumPy, and what it keeps of a skewed client's absent classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from strategies.balancefl import BalanceFL, deviations

COUNTS = np.array([23, 10, 6, 2, 7, 1, 0, 7, 0, 0])  # client 4 of the tiny scenario
ABSENT = np.flatnonzero(COUNTS == 0)


def log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


def test_the_loss_treats_present_and_absent_classes_apart(make_client: Any) -> None:
    """Classes 0 and 2 are present. Noise reaches the cross-entropy alone, absent logits the distillation alone."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), np.array([0, 2, 0, 0, 2])
    noise, teacher = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    net = Net(nn.Identity(), nn.Linear(3, 4), 3)
    client = make_client(net, x, y, Local(epochs=1, batch_size=5, lr=0.1))
    client.class_counts = torch.tensor([3, 0, 2, 0])
    strategy = BalanceFL(inherit=0.7, temperature=3.0, smooth=0.4)
    batch = Batch(*(torch.from_numpy(value) for value in (x.astype(np.float32), y, np.arange(5))))
    tensors = (torch.from_numpy(value).float() for value in (noise, teacher))
    found = strategy.balanced_loss(client, batch, *tensors).item()

    weight, bias = net.head.weight.detach().numpy().astype(float), net.head.bias.detach().numpy().astype(float)
    clean, noisy = x @ weight.T + bias, (x + noise) @ weight.T + bias
    supervised = -log_softmax(noisy[:, [0, 2]])[np.arange(5), y // 2].mean()
    own = log_softmax(clean[:, [0, 2]])
    entropy = -(np.exp(own) * own).sum(1).mean()
    known, mine = log_softmax(teacher[:, [1, 3]] / 3), log_softmax(clean[:, [1, 3]] / 3)
    inherited = -(np.exp(known) * mine).sum(1).mean()
    assert np.isclose(found, supervised - 0.4 * entropy + 0.7 * inherited, atol=1e-5)


def test_the_official_head_has_no_bias_and_doubles_its_logits(make_client: Any) -> None:
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    BalanceFL(head="doubled").build(net, Task("single", 3, (2,)))
    assert [name for name, _ in net.named_parameters()] == ["head.weight"]
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]]))  # type: ignore[union-attr, operator]
        assert net(torch.tensor([[3.0, 5.0]])).tolist() == [[6.0, 10.0, 2.0]]
    plain = Net(nn.Identity(), nn.Linear(2, 3), 2)
    BalanceFL().build(plain, Task("single", 3, (2,)))
    assert type(plain.head) is nn.Linear


def test_nothing_is_inherited_where_no_class_is_absent(make_client: Any) -> None:
    net = Net(nn.Identity(), nn.Linear(3, 2), 3)
    client = make_client(net, np.eye(3), [0, 1, 0], Local(epochs=1, batch_size=3, lr=0.1))
    batch = client.data.batch(torch.arange(3))
    loss = [BalanceFL(inherit=w).balanced_loss(client, batch, torch.zeros(3, 3), torch.zeros(3, 2)) for w in (0, 9)]
    assert torch.isfinite(loss[0]) and torch.equal(*loss)


def test_the_noise_has_the_pooled_covariance_within_classes() -> None:
    rng = np.random.default_rng(1)
    features, y = rng.normal(size=(9, 3)), np.array([0, 1, 0, 0, 2, 1, 0, 1, 1])
    expected = sum(np.cov(features[y == c].T) * 4 / 9 for c in (0, 1))  # one sample of class 2 says nothing
    found = deviations(torch.from_numpy(features).float(), torch.from_numpy(y), 4).numpy()
    assert np.allclose(found.T @ found, expected, atol=1e-6)


def test_batches_are_balanced_and_rare_classes_noisy_in_local_training(make_client: Any) -> None:
    """12 samples of class 0 and 4 of class 1, in batches of 4: noise for class 1 with probability 1 - 4 / 12."""
    rng, y = np.random.default_rng(2), np.repeat([0, 1], [12, 4])
    net = Net(nn.Identity(), nn.Linear(2, 2), 2)
    client = make_client(net, rng.normal(size=(16, 2)), y, Local(epochs=50, batch_size=4, lr=0.1))
    with torch.no_grad():
        received = net(client.data.x())
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Watched(BalanceFL):
        def balanced_loss(self, client: Any, batch: Batch, noise: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
            assert torch.equal(teacher, received[batch.rows])
            seen.append((batch.y, noise.abs().sum(1) > 0))
            return super().balanced_loss(client, batch, noise, teacher)

    Watched().fit(client)
    labels, noisy = (torch.cat(parts).numpy() for parts in zip(*seen, strict=True))
    assert abs(labels.mean() - 0.5) < 0.05
    assert not noisy[labels == 0].any()
    assert abs(noisy[labels == 1].mean() - 2 / 3) < 0.08


def test_a_skewed_client_keeps_absent_classes_and_gains_its_rare_ones(train_one: Any) -> None:
    """FedAvg pushes absent classes down and fits the client's one sample of class 5 last."""
    fitted, absent = {}, {}
    for strategy in ("fedavg", "balancefl"):
        worker, start, _ = train_one(4, f"strategy={strategy}", "local.epochs=5")
        rows = torch.from_numpy(worker.context.federation.clients[4])
        x, y = worker.context.train_inputs.take(rows), worker.context.train_targets[rows]
        with torch.no_grad():
            probability = worker.context.model(x).softmax(1)
            fitted[strategy] = probability[y == 5, 5].item()
            after = worker.context.model(x)[:, ABSENT].log_softmax(1)
            worker.context.flat.load_shared(start)
            before = worker.context.model(x)[:, ABSENT].log_softmax(1)
        absent[strategy] = (before.exp() * (before - after)).sum(1).mean().item()
    assert fitted["balancefl"] > 2 * fitted["fedavg"]
    assert absent["balancefl"] < 0.5 * absent["fedavg"]
