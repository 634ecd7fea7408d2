"""CLIMB: no client's loss may exceed the clients' mean loss by more than a tolerance; dual variables see to it.

Shen, Cervino, Hassani, Ribeiro: An Agnostic Approach to Federated Learning with Class Imbalance. ICLR 2022. The
multiplier lambda_k of a client grows while its loss is too high, and its update counts 1 + lambda_k - mean(lambda). A
loss is the sum of a client's batch means, as in the official code, whose step and tolerance belong to that; the
paper's mean loss is `losses=means`. Where clients differ in size, all are counted as having the mean client's number
of batches, or large clients would seem to be badly served. Differences from the official code: one dual step in every
round instead of every fifth; only the cohort's multipliers move, by the cohort's losses, where the code tests every
client each time; a factor below 0, which would raise a client's loss, is 0; multipliers end at 100 as in the code's
later variant; buffers are the factors' weighted mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch

from fedlt.blocks.mean_loss import mean_loss
from fedlt.strategy import Client, Server, Strategy, Update, combine


@dataclass(frozen=True)
class CLIMB(Strategy):
    """w += mean over the cohort of (1 + lambda_k - mean lambda)(w_k - w); clients count alike, whatever their size."""

    # The losses that it compares must be those of one model.
    needs: ClassVar[tuple[str, ...]] = ("prompt_updates",)

    dual_lr: Annotated[float, ">= 0"] = 2.0  # step of the multipliers; 0 is FedAvg with equal weights
    tolerance: Annotated[float, ">= 0"] = 0.01  # by how much a client's loss may exceed the mean
    losses: Literal["sums", "means"] = "sums"  # a client's loss: over its batches (official code), or per sample

    def setup(self, server: Server) -> None:
        server.state["multipliers"] = torch.zeros(server.num_clients, device=server.weights.device)
        server.outbox["mean_size"] = server.weights.new_tensor([server.num_samples / server.num_clients])
        server.outbox["factors"] = torch.ones_like(server.state["multipliers"])

    def fit(self, client: Client) -> None:
        """Local work, before which the client sends the received model's loss: it decides whether the constraint is
        broken.
        """
        loss = mean_loss(client)  # of the received model
        if self.losses == "sums":
            loss = loss * math.ceil(float(client.received["mean_size"]) / client.trainer.local.batch_size)
        client.values["loss"] = loss
        super().fit(client)

    def weight(self, client: Client) -> float:
        return float(client.received["factors"][client.id])

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean of the changes, by the multipliers' weights, and a step of each multiplier by how far its loss
        exceeds.
        """
        whole = combine(updates)
        cohort, loss = list(whole.clients), whole.values["loss"]
        old, trainable = server.weights, server.trainable
        new = whole.mean if whole.weight else old.clone()
        new[trainable] = old[trainable] + (whole.total - whole.weight * old)[trainable] / len(cohort)
        server.weights = new
        multipliers = server.state["multipliers"]
        excess = loss - loss.mean() - self.tolerance
        multipliers[cohort] = (multipliers[cohort] + self.dual_lr * excess / len(multipliers)).clamp(0, 100)
        server.outbox["factors"] = (1 + multipliers - multipliers.mean()).clamp(min=0)
