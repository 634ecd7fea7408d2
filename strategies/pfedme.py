"""pFedMe: a personal model is a few steps from the shared one, which moves towards it.

Dinh, Tran, Nguyen: Personalized Federated Learning with Moreau Envelopes. NeurIPS 2020, Algorithm 1. On every batch the
personal model takes some steps on its loss plus a pull towards the shared model; then the shared model goes a part of
the way towards it. As in the official code the personal model starts each round at the received one, goes on from batch
to batch, and decays a little in its steps, which the paper does not say (`decay`). Difference: a round has the
scenario's epochs of batches, where its "20 local epochs" are 20 batches.
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
class PFedMe(Strategy):
    """theta <- theta - own_lr (g(theta) + lam (theta - w) + decay theta), K times; then w <- w - lr lam (w - theta)."""

    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "head", "prediction")  # all parameters are trained together

    lam: Annotated[float, ">= 0"] = 15.0  # pull between the personal and the shared model
    steps: Annotated[int, ">= 1"] = 5  # K: of the personal model on every batch
    own_lr: Annotated[float, "> 0"] | None = None  # of the personal model; null: local.lr. Published: 0.09
    lr: Annotated[float, "> 0"] = 0.005  # of the shared model; times lam, the part of the way that it goes
    decay: Annotated[float, ">= 0"] = 0.001  # weight decay of the personal model's steps
    beta: Annotated[float, "> 0"] = 1.0  # step of the server towards the clients' mean

    def fit(self, client: Client) -> None:
        """Approach the personal model from the own one w by some steps, and move w towards it; repeat."""
        own = client.start.clone()

        def loss(client: Client, batch: Batch) -> Tensor:
            """Its gradient is lam (w - theta), and its value that of the personal model's loss."""
            shared = client.weights()
            value = self.approach(client, batch, own, shared.detach())
            pull = shared @ (self.lam * (shared.detach() - own))
            return value + pull - pull.detach()

        client.train(loss, lr=self.lr)
        client.state["own"] = client.vector.clone()  # with the running statistics, which its steps have moved
        client.state["own"][: len(own)] = own

    def approach(self, client: Client, batch: Batch, own: Tensor, shared: Tensor) -> Tensor:
        """Move the personal model `own` [T], in place, by its steps on a batch. The loss that the last one descends.

        Args:
            shared: [T] the shared model.
        """
        buffers = dict(client.model.named_buffers())
        rate = client.trainer.local.lr if self.own_lr is None else self.own_lr
        client.trainer.passed((self.steps - 1) * len(batch))

        for _ in range(self.steps):
            leaf = own.clone().requires_grad_()
            value = client.loss_at(client.named(leaf) | buffers, self.loss, batch)
            (gradient,) = torch.autograd.grad(value, leaf)
            own -= rate * (gradient + self.lam * (own - shared) + self.decay * own)
        return value.detach()

    def adapt(self, client: Client) -> None:
        """A client that was never sampled has the received model."""
        if "own" in client.state:
            client.vector = client.state["own"]

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """w <- (1 - beta) w + beta mean. Buffers take the mean."""
        old, new, trainable = server.weights, combine(updates).mean, server.trainable
        if self.beta != 1:
            new[trainable] = old[trainable] + self.beta * (new[trainable] - old[trainable])
        server.weights = new
