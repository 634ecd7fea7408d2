"""FedCM: every local step is a little of the client's own gradient and a lot of the federation's last direction.

Xu, Wang, Wang, Yao: FedCM: Federated Learning with Client-level Momentum. 2021 (arXiv 2106.10874). The direction is
the clients' mean change of the round before, as a gradient: divided by how far their steps could carry them. The code
that was read is the base of FedWMSAM's. Differences from it: each client's own steps are counted, there those of the
first client for all; clients count by their numbers of samples, there alike; and gradients are clipped at no norm
(there 10, `local.clip`). Its rate is 0.1, falling by 0.2 % a round, without momentum of the clients' own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fedlt.data.site import Batch
from fedlt.strategy import Client, Server, Strategy, Update, combine


@dataclass(frozen=True)
class FedCM(Strategy):
    """w <- w - lr (alpha g + (1 - alpha) m); m <- (w - mean of the clients' w) / (mean of lr times steps)."""

    # Prompt, since the direction is that of a round's clients from one model.
    needs: ClassVar[tuple[str, ...]] = ("sgd", "prompt_updates")

    alpha: Annotated[float, "> 0", "<= 1"] = 0.1  # share of the client's own gradient; 1 is FedAvg

    def setup(self, server: Server) -> None:
        server.outbox["direction"] = torch.zeros_like(server.weights[server.trainable])

    def own_share(self, client: Client) -> float:
        """alpha in this round."""
        return self.alpha

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """The direction is the gradient of a linear term, which the loss that is told leaves out."""
        value, alpha = super().loss(client, batch), self.own_share(client)
        if alpha == 1:
            return value
        mixed = alpha * value + (1 - alpha) * client.weights() @ client.received["direction"]
        return mixed + (value - mixed).detach()

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.extras["travel"] = client.start.new_tensor([self.weight(client) * client.travel])

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean model; the next direction is the mean gradient along the way, (w - mean) / travel."""
        whole, trainable = combine(updates), server.trainable
        new = whole.mean
        travel = whole.sums["travel"] / whole.weight
        server.outbox["direction"] = (server.weights - new)[trainable] / travel
        server.weights = new
