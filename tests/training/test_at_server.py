"""Training at the server: the arithmetic of PyTorch's optimisers, kept states, modes, and equal bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.inputs import shaped
from fedlt.data.site import Batch, Rows
from fedlt.data.task import Task
from fedlt.nn.flat import Flat
from fedlt.nn.net import Net
from fedlt.strategy import Server
from fedlt.training.at_server import ServerTrainer, batches, passes
from fedlt.training.vector_steps import Adam, Descent

X = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 1.0], [-2.0, 0.5]])
Y = torch.tensor([0, 1, 1, 0])


def server_of(backbone: nn.Module | None = None, private: tuple[str, ...] = (), frozen: tuple[str, ...] = ()) -> Server:
    torch.manual_seed(0)
    net = Net(backbone or nn.Linear(2, 2), nn.Linear(2, 2), 2)
    return Server(net, Flat(net, private, frozen), Task("single", 2, (2,)), rng=np.random.default_rng(0))


def rows(count: int = 4) -> Rows:
    return Rows(shaped((2,)).open(X.numpy(), torch.device("cpu")), Y, torch.arange(count))


def loss_of(server: Server) -> Callable[[Batch], Tensor]:
    return lambda batch: F.cross_entropy(server.model(batch.x), batch.y)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        (lambda decay: Descent(0.9, decay), lambda p, decay: torch.optim.SGD(p, momentum=0.9, weight_decay=decay)),
        (lambda decay: Adam(decay), lambda p, decay: torch.optim.Adam(p, weight_decay=decay)),
    ],
)
def test_steps_are_those_of_pytorch(own: Any, theirs: Any, decay: float) -> None:
    """Five steps at changing rates, the state taken out and put back after the third."""
    torch.manual_seed(1)
    vector, gradients = torch.randn(6), torch.randn(5, 6)
    leaf = vector.clone().requires_grad_()
    optimizer, steps = theirs([leaf], decay), own(decay)
    for number, gradient in enumerate(gradients):
        rate = 0.1 / (1 + number)
        optimizer.param_groups[0]["lr"], leaf.grad = rate, gradient.clone()
        optimizer.step()
        steps.step(vector, gradient.clone(), rate)
        if number == 2:
            kept = {name: value.clone() for name, value in steps.kept.items()}
            steps = type(steps)(*([0.9] if isinstance(steps, Descent) else []), decay, kept)
        assert torch.allclose(vector, leaf, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_reach_the_weights_that_they_are_of(layout: torch.memory_format) -> None:
    """One step of plain descent on a convolution and a head, in either order in memory."""
    torch.manual_seed(0)
    net = Net(nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten()), nn.Linear(3, 2), 3)
    server = Server(net, Flat(net, memory_format=layout), Task("single", 2, (2, 2, 2)), rng=np.random.default_rng(0))
    x = torch.randn(4, 2, 2, 2)
    wanted = torch.autograd.grad(F.cross_entropy(net(x), Y), list(net.parameters()))
    expected = [p.detach() - 0.5 * g for p, g in zip(net.parameters(), wanted, strict=True)]
    ServerTrainer(server, "sgd").train(lambda x: F.cross_entropy(net(x), Y), [x], lr=0.5)
    assert all(torch.allclose(p, e, atol=1e-6) for p, e in zip(net.parameters(), expected, strict=True))


def test_what_clients_keep_and_what_is_frozen_stays() -> None:
    server = server_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), ("head.*",), ("backbone.1.*",))
    before = {name: tensor.clone() for name, tensor in server.model.state_dict().items()}
    ServerTrainer(server).train(loss_of(server), batches(server.rng, rows(), 2, 3), lr=0.1)
    moved = {name for name, tensor in server.model.state_dict().items() if not tensor.equal(before[name])}
    assert moved == {"backbone.0.weight", "backbone.0.bias"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_kept_moments_go_on_with_the_next_trainer(optimizer: Any) -> None:
    """Two trainers of two steps are one of four; without a name the second one begins anew."""

    def after(*steps: int, keep: str) -> Tensor:
        server = server_of()
        for count in steps:
            trainer = ServerTrainer(server, optimizer, momentum=0.9, keep=keep)
            trainer.train(loss_of(server), [rows().batch(torch.arange(4))] * count, lr=0.1)
        assert {name.partition("/")[0] for name in server.state} == ({keep} if keep else set())
        return server.weights.clone()

    whole = after(4, keep="")
    assert after(2, 2, keep="mine").equal(whole)
    assert not after(2, 2, keep="").equal(whole)


def test_rates_may_differ_and_end_the_training() -> None:
    server = server_of()
    seen: list[float] = []

    def loss(rate: float) -> Tensor:
        seen.append(rate)
        return server.flat.weights().sum()

    before = server.weights.clone()
    ServerTrainer(server, "sgd").train(loss, iter([1.0, 2.0, 3.0]), lr=[0.25, 0.5])
    assert seen == [1.0, 2.0]
    assert torch.allclose(server.weights, before - 0.75)


def test_batch_normalisation_moves_in_training_mode_alone() -> None:
    for moving in (True, False):
        server = server_of(nn.BatchNorm1d(2))
        mode: list[bool] = []

        def loss(batch: Batch, server: Server = server, mode: list[bool] = mode) -> Tensor:
            mode.append(server.model.backbone.training)
            return loss_of(server)(batch)

        ServerTrainer(server, moving=moving).train(loss, batches(server.rng, rows(), 4, 2), lr=0.1)
        assert mode == [moving] * 2 and not server.model.training
        still = server.model.part("backbone.running_mean").equal(torch.zeros(2))
        assert still is not moving
        assert server.weights[server.trainable.stop :].abs().sum() > 0  # the vector has them, too


def test_dropout_follows_the_servers_generator_alone() -> None:
    def trained(noise: int, seed: int) -> Tensor:
        server = server_of(nn.Dropout(0.5))
        server.rng = np.random.default_rng(seed)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        ServerTrainer(server).train(loss_of(server), [rows().batch(torch.arange(4))] * 5, lr=0.1)
        assert torch.get_rng_state().equal(before)
        return server.weights.clone()

    assert trained(1, 0).equal(trained(2, 0))
    assert not trained(1, 0).equal(trained(1, 5))


def test_it_trains_where_gradients_are_off() -> None:
    server = server_of()
    before = server.weights.clone()
    with torch.no_grad():
        ServerTrainer(server).train(loss_of(server), [rows().batch(torch.arange(4))], lr=0.1)
    assert not server.weights.equal(before) and not server.weights.requires_grad


def test_passes_are_shuffled_and_whole() -> None:
    order = passes(np.random.default_rng(0), 5, 12).tolist()
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4] and len(order) == 12
    assert order[:5] != order[5:10]
    assert len(passes(np.random.default_rng(0), 5, 0)) == 0


def test_batches_are_full_and_of_the_rows() -> None:
    found = list(batches(np.random.default_rng(0), rows(3), 2, 3))
    assert [len(batch) for batch in found] == [2, 2, 2]
    assert sorted(torch.cat([batch.rows for batch in found]).tolist()) == [0, 0, 1, 1, 2, 2]
    assert all(batch.x.equal(X[batch.rows]) and batch.y.equal(Y[batch.rows]) for batch in found)
    assert [len(batch) for batch in batches(np.random.default_rng(0), rows(3), 64, 2)] == [3, 3]
