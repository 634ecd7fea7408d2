"""FedLC: the calibrated loss against NumPy, and what it does to rare and absent classes of a client."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.nn.net import Net
from strategies.fedlc import FedLC


def test_one_step_descends_the_calibrated_cross_entropy(make_client: Any) -> None:
    """Counts 3, 1, 0: margins tau, tau / 1 and infinity, so the third class has probability 0."""
    x = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0], [-1.0, 1.0]], np.float32)
    y, tau, lr = np.array([0, 0, 0, 1]), 0.7, 0.5
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    client = make_client(net, x, y, Local(epochs=1, batch_size=4, lr=lr, momentum=0.0))
    client.class_counts = torch.tensor([3, 1, 0])
    weight, bias = net.head.weight.detach().numpy().copy(), net.head.bias.detach().numpy().copy()
    FedLC(tau).fit(client)

    scores = np.exp(x @ weight.T + bias - tau * np.array([3**-0.25, 1.0, np.inf]))
    error = scores / scores.sum(1, keepdims=True) - np.eye(3)[y]
    assert np.allclose(net.head.weight.detach().numpy(), weight - lr * error.T @ x / 4, atol=1e-6)
    assert np.allclose(net.head.bias.detach().numpy(), bias - lr * error.mean(0), atol=1e-6)
    assert np.all(error[:, 2] == 0)


def test_absent_classes_are_left_alone_and_the_rarest_gains_most(train_one: Any) -> None:
    """Client 4 has 23, 10, 6, 2, 7, 1, 0, 7, 0, 0 samples; FedAvg pushes the bias of an absent class down."""
    counts, biases = [23, 10, 6, 2, 7, 1, 0, 7, 0, 0], {}
    absent = [c for c, n in enumerate(counts) if n == 0]
    for strategy in ("fedavg", "fedlc"):
        worker, start, _ = train_one(4, f"strategy={strategy}")
        before, after = (worker.context.flat.trainable_views(vector) for vector in (start, worker.context.flat.shared))
        biases[strategy] = (after["head.bias"] - before["head.bias"]).numpy()
        untouched = (after["head.weight"] == before["head.weight"]).all(1).numpy()
        assert untouched[absent].all() == (strategy == "fedlc")
    assert np.all(biases["fedavg"][absent] < 0)
    assert np.all(biases["fedlc"][absent] == 0)
    gain = biases["fedlc"] - biases["fedavg"]
    assert np.argmax(np.where(np.array(counts) > 0, gain, -1)) == 5
