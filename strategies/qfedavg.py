"""q-FedAvg: clients whose loss is high count more, so that accuracies differ less between clients.

Li, Sanjabi, Beirami, Smith: Fair Resource Allocation in Federated Learning. ICLR 2020, Algorithm 2. The objective is
the sum of F_k^(q + 1) / (q + 1) over clients, and the step of its gradient is set by an estimate of how fast that may
change, from the constant L that suits q = 0. As in the official code F_k is the received model's mean loss on all
samples of the client, and L is one over the local rate unless it is given. Clients count alike beside F_k^q: the paper
draws them in proportion to their samples, here a cohort is drawn evenly. A client sends two numbers beside its model,
of which the server needs the sums only. Buffers are averaged with the weights F_k^q.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fedlt.blocks.mean_loss import mean_loss
from fedlt.strategy import Client, Server, Strategy, Update, combine

SMALLEST_LOSS = 1e-10  # added to a loss, of which powers below 0 are taken


@dataclass(frozen=True)
class QFedAvg(Strategy):
    """w <- w - sum of F_k^q D_k / sum of (q F_k^(q - 1) |D_k|^2 + L F_k^q), with D_k = L (w - w_k)."""

    q: Annotated[float, ">= 0"] = 1.0  # how much unfairness costs; 0 is FedAvg with equal weights
    lipschitz: Annotated[float, "> 0"] | None = None  # L; null: one over `local.lr`

    def fit(self, client: Client) -> None:
        """Local work, with the power of the received model's loss, and the bound of the curvature, for the server's
        step.
        """
        loss = mean_loss(client) + SMALLEST_LOSS
        super().fit(client)

        # Both sums are divided by L, which then stands at the squared change alone.
        constant = 1 / client.trainer.local.lr if self.lipschitz is None else self.lipschitz
        squares = (client.vector[: len(client.start)] - client.start).square().sum()
        client.extras["power"] = loss.pow(self.q)[None]
        client.extras["normaliser"] = (loss.pow(self.q) + self.q * loss.pow(self.q - 1) * constant * squares)[None]

    def weight(self, client: Client) -> float:
        return float(client.extras["power"])

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean change, by the summed powers of the losses over the summed normalisers."""
        whole, trainable = combine(updates), server.trainable
        step = whole.sums["power"] / whole.sums["normaliser"]
        new = whole.mean
        new[trainable] += (step - 1) * (new[trainable] - server.weights[trainable])
        server.weights = new
