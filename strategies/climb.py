"""CLIMB: no client's loss may exceed the clients' mean loss by more than a tolerance; dual variables see to it.

Shen, Cervino, Hassani, Ribeiro: An Agnostic Approach to Federated Learning with Class Imbalance. ICLR 2022. The
multiplier lambda_k of a client grows while its loss is too high, and its update counts 1 + lambda_k - mean(lambda).
Differences from the official code: one dual step in every round instead of every fifth; only the cohort's multipliers
move, by the cohort's losses, where the code tests every client each time; multipliers end at 100 as in its later
version; buffers (running statistics) are averaged plainly, because an extrapolated variance may be negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from fedlt.strategy import Client, Server, Strategy, Update, combine


@dataclass(frozen=True)
class CLIMB(Strategy):
    """w += mean over the cohort of (1 + lambda_k - mean lambda)(w_k - w); clients count alike, whatever their size."""

    foldable: ClassVar[bool] = False  # the server needs each client's loss and update

    dual_lr: Annotated[float, ">= 0"] = 2.0  # step of the multipliers; 0 is FedAvg with equal weights
    tolerance: Annotated[float, ">= 0"] = 0.01  # by how much a client's loss may exceed the mean

    def fit(self, client: Client) -> None:
        losses = client.scan(lambda batch: client.learner.loss(client, batch) * len(batch))
        client.extras["loss"] = torch.stack(losses).sum(0, keepdim=True) / client.num_samples  # [1]
        super().fit(client)

    def weight(self, client: Client) -> float:
        return 1.0

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        updates = list(updates)
        cohort = [update.clients[0] for update in updates]
        loss = torch.cat([update.sums["loss"] for update in updates])
        old = server.weights.clone()
        multipliers = server.state.setdefault("multipliers", old.new_zeros(server.num_clients))
        factors = (1 + multipliers - multipliers.mean())[cohort]
        new = combine(updates).mean
        trainable = slice(server.flat.num_trainable)
        steps = torch.stack([update.mean[trainable] - old[trainable] for update in updates])
        new[trainable] = old[trainable] + factors @ steps / len(updates)
        server.weights = new
        excess = loss - loss.mean() - self.tolerance
        raised = multipliers[cohort] + self.dual_lr * excess / server.num_clients
        multipliers[cohort] = raised.clamp(0, 100)
