"""FedDisco: a client counts by its share of the samples, less by how far its class shares are from equal ones.

Ye, Xu, Wang, Xu, Chen, Wang: FedDisco: Federated Learning with Discrepancy-Aware Collaboration. ICML 2023. Samples are
counted as shares of the cohort's. As in the official code divergences are taken as shares of the cohort's sum, other
distances as they are. Where no client's weight is above zero, which ends the official code with an error, samples alone
count. Its other yardstick, the class shares of an imbalanced test set, is left out: nothing is told of test data here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from fedlt.strategy import Client, Server, Strategy, Update, combine


@dataclass(frozen=True)
class FedDisco(Strategy):
    """Weights proportional to max(0, n_k / n - a d_k + b); a client sends d_k beside its model."""

    foldable: ClassVar[bool] = False  # what one client counts depends on the samples and distances of all

    a: Annotated[float, ">= 0"] = 0.5  # weight of the distance; 0 with b=0 is FedAvg
    b: Annotated[float, ">= 0"] = 0.1  # what every client's share is raised by
    distance: Literal["kl", "l1", "l2"] = "kl"  # from equal shares; kl: as a part of the cohort's sum

    def fit(self, client: Client) -> None:
        super().fit(client)
        client.values["distance"] = self.from_equal(client.class_counts)

    def from_equal(self, counts: Tensor) -> Tensor:
        """The distance of the class shares of counts [C] from equal ones."""
        shares, classes = counts / counts.sum(), len(counts)
        if self.distance == "kl":
            return torch.special.xlogy(shares, shares * classes).sum()
        return torch.linalg.vector_norm(shares - 1 / classes, 1 if self.distance == "l1" else 2)

    def weights(self, samples: Tensor, distances: Tensor) -> Tensor:
        """[K] weights of the cohort's clients, given their numbers of samples [K] and their distances [K]."""
        if self.distance == "kl":
            distances = distances / distances.sum().clamp(min=torch.finfo(distances.dtype).tiny)
        share = samples / samples.sum()
        factors = (share - self.a * distances + self.b).clamp(min=0)
        return factors / factors.sum() if factors.any() else share

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean with weights n_k - a d_k + b: the farther a client's classes are from equal, the less it counts."""
        cohort = list(updates)
        samples = torch.tensor([update.weight for update in cohort], dtype=torch.float64)
        distances = torch.cat([update.values["distance"] for update in cohort]).to(samples)
        factors = (self.weights(samples, distances) / (samples / samples.sum())).tolist()

        # Each update is a sum already, of its weight and its weighted vector: both are multiplied.
        pairs = zip(cohort, factors, strict=True)
        scaled = (Update(one.clients, by * one.weight, by * one.total) for one, by in pairs)
        server.weights = combine(scaled).mean
