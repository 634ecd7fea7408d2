"""FedIR: the weighted step against NumPy, and what it does for a class that is rare at one client only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from fedlt.config.sections import Local
from fedlt.data.task import Task
from fedlt.nn.net import Net
from strategies.fedir import FedIR

X = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0], [-1.0, 1.0]])
Y = np.array([0, 0, 0, 1])  # the client's counts are 3, 1, 0


def test_fedir_weighs_by_the_ratio_of_global_to_local_counts(make_client: Any) -> None:
    """One step of rate 0.5 on all samples; 60 / 3 = 20 and 50 / 1 = 50, normalised over the batch."""
    net = Net(nn.Identity(), nn.Linear(2, 3), 2)
    client = make_client(net, X, Y, Local(epochs=1, batch_size=4, lr=0.5, momentum=0.0))
    client.class_counts = torch.tensor([3, 1, 0])
    client.task = Task("single", 3, (2,), np.array([60, 50, 0]))
    before = np.column_stack([p.detach().numpy() for p in (net.head.weight, net.head.bias)])
    FedIR().fit(client)
    after = np.column_stack([p.detach().numpy() for p in (net.head.weight, net.head.bias)])
    extended = np.column_stack([X, np.ones(4)])
    scores = np.exp(extended @ before.T)
    error = scores / scores.sum(1, keepdims=True) - np.eye(3)[Y]
    weights = np.array([20, 20, 20, 50]) / 110
    assert np.allclose(after, before - 0.5 * (weights[:, None] * error).T @ extended, atol=1e-6)


def test_fedir_fits_what_is_rarer_here_than_elsewhere_sooner(train_one: Any) -> None:
    """Client 4 has one sample of class 5 of the union's 16, and 23 of class 0 of its 60."""
    fitted = {}
    for strategy in ("fedavg", "fedir"):
        worker, _, _ = train_one(4, f"strategy={strategy}", "local.epochs=5")
        rows = torch.from_numpy(worker.context.federation.clients[4])
        y = worker.context.train_targets[rows]
        with torch.no_grad():
            probability = worker.context.model(worker.context.train_inputs.take(rows)).softmax(1)
        fitted[strategy] = [probability[y == c, c].mean().item() for c in (5, 0)]
    assert fitted["fedir"][0] > 5 * fitted["fedavg"][0]
    assert fitted["fedir"][1] < fitted["fedavg"][1]
