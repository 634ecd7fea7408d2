"""FedAvgM: FedAvg whose server descends along the clients' mean change with momentum.

Hsu, Qi, Brown: Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification. 2019
(arXiv 1909.06335). The mean change counts as a gradient, and its running sum carries over rounds in which the cohort
lacks a class. There is no official code. Buffers (running statistics) are averaged plainly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch

from fedlt.strategy import Server, Strategy, Update, combine


@dataclass(frozen=True)
class FedAvgM(Strategy):
    """v <- momentum * v + (w - mean of the clients' w), then w <- w - lr * v."""

    momentum: Annotated[float, ">= 0", "< 1"] = 0.9  # of the server; 0 with lr 1 is FedAvg
    lr: Annotated[float, "> 0"] = 1.0  # step size of the server

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """A step along the velocity: v <- momentum v + (w - mean), w <- w - lr v. Buffers take the mean."""
        old, new = server.weights, combine(updates).mean
        trainable = server.trainable
        velocity = server.state.get("velocity", torch.zeros_like(old[trainable]))
        server.state["velocity"] = self.momentum * velocity + old[trainable] - new[trainable]
        new[trainable] = old[trainable] - self.lr * server.state["velocity"]
        server.weights = new
