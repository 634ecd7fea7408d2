"""SCAFFOLD: control variates take the clients' differing gradients out of their local steps.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh: SCAFFOLD: Stochastic Controlled Averaging for Federated Learning. ICML
2020, Algorithm 1 with option II. A client steps along g - c_k + c, where c_k estimates its own gradient and c the
union's, so that the union's optimum is a fixed point however long the clients train. There is no official code.
Differences from the paper: clients count by their numbers of samples in the model and in c alike, so that the problem
solved is FedAvg's; with momentum or a schedule, c_k divides by the sum of the step sizes that were really taken.
Buffers (running statistics) take the cohort's mean, whatever the server's step size.
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
class SCAFFOLD(Strategy):
    """c_k <- c_k - c + (w - w_k) / travel; c <- c + sum of n_k / n times the changes of c_k."""

    # Prompt, or the control variates of clients and server would no longer agree.
    needs: ClassVar[tuple[str, ...]] = ("sgd", "prompt_updates")

    lr: Annotated[float, "> 0"] = 1.0  # step size of the server

    def setup(self, server: Server) -> None:
        server.outbox["control"] = torch.zeros_like(server.weights[server.trainable])

    def begin(self, client: Client) -> None:
        client.state["control"] = client.start.new_zeros(len(client.start))

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """The correction is the gradient of a linear term."""
        correction = client.received["control"] - client.state["control"]
        return super().loss(client, batch) + client.weights() @ correction

    def fit(self, client: Client) -> None:
        """Local work, after which the client's control variate is its mean gradient on the way."""
        super().fit(client)
        old = client.state["control"]
        moved = client.start - client.weights().detach()
        client.state["control"] = old - client.received["control"] + moved / client.travel
        client.extras["control"] = client.num_samples * (client.state["control"] - old)

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The server's control variate moves by the clients' changes; the model steps along their mean."""
        whole = combine(updates)
        server.outbox["control"] = server.outbox["control"] + whole.sums["control"] / server.num_samples
        old, new = server.weights, whole.mean
        trainable = server.trainable
        new[trainable] = old[trainable] + self.lr * (new[trainable] - old[trainable])
        server.weights = new  # buffers take the mean: a step beyond it could make a running variance negative
