"""FedDyn: a linear and a quadratic term, renewed in every round, make the clients' optima agree with the union's.

Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama: Federated Learning Based on Dynamic Regularization. ICLR
2021, Algorithm 1. A client's linear term h_k sums up its past changes and comes to stand for its own gradient at the
common optimum. As in the official code h_k is scaled by 1 / alpha and alpha by the client's share of the data, the
models are averaged without weights, and the model that is sent (and tested here) is that mean plus the mean of all h_k.
What an alpha does depends on the sum T of a client's step sizes in a round: h_k fades by a factor 1 - alpha T a round,
and with alpha T near 0 the server's term is momentum without friction. Unless given, alpha is therefore 0.1 / T.
Differences: gradients are not clipped, and buffers (running statistics) are averaged without weights too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fedlt.data.site import Batch
from fedlt.strategy import Client, Server, Strategy, Update, combine

FADING = 0.1
"""alpha T where alpha is not given. Official runs: 50 steps of 0.1, so T = 5, at alpha 0.01 and 0.1: 0.05 and 0.5."""


@dataclass(frozen=True)
class FedDyn(Strategy):
    """Local loss + alpha_k (<h_k, w_k> + |w_k - w|^2 / 2), alpha_k = alpha * mean size / n_k; h_k <- h_k + w_k - w."""

    # Prompt, or the server's drift would no longer be the mean of the clients' own.
    needs: ClassVar[tuple[str, ...]] = ("sgd", "prompt_updates")

    alpha: Annotated[float, "> 0"] | None = None  # weight of both terms; null: FADING / step sizes of a mean client

    def setup(self, server: Server) -> None:
        server.outbox["mean_size"] = server.weights.new_tensor([server.num_samples / server.num_clients])
        server.state["drift"] = torch.zeros_like(server.weights[server.trainable])  # mean of all clients' h_k

    def begin(self, client: Client) -> None:
        client.state["drift"] = client.start.new_zeros(len(client.start))

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """The loss with the client's linear term and a quadratic pull towards the received model."""
        weights = client.weights()
        terms = weights @ client.state["drift"] + (weights - client.start).square().sum() / 2
        mean_size = client.received["mean_size"]
        alpha = FADING / travel(client, mean_size) if self.alpha is None else self.alpha
        return super().loss(client, batch) + (alpha * mean_size / client.num_samples * terms).squeeze()

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.state["drift"] = client.state["drift"] + client.weights().detach() - client.start

    def weight(self, client: Client) -> float:
        return 1.0

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean model, moved by the server's drift, which sums what the clients' models have moved."""
        whole = combine(updates)
        trainable = server.trainable
        moved = whole.total[trainable] - whole.weight * server.weights[trainable]
        server.state["drift"] = server.state["drift"] + moved / server.num_clients
        new = whole.mean
        new[trainable] += server.state["drift"]
        server.weights = new


def travel(client: Client, samples: Tensor) -> Tensor:
    """[1] by how much a round's steps on so many samples move a weight whose gradient is one, schedules aside."""
    local = client.trainer.local
    epochs = (samples / local.batch_size).clamp(min=1.0)
    steps = local.epochs * epochs if local.steps is None else torch.full_like(epochs, local.steps)
    return local.lr * steps / (1 - local.momentum)
