"""Closed form: a head in one exchange, from sums that add up exactly: ridge regression, Gaussians or class means.

Ridge is the base of Fed3R: Eros Fani, Raffaello Camoriano, Barbara Caputo, Marco Ciccone: Accelerating Heterogeneous
Federated Learning with Closed-form Classifiers. ICML 2024. After the last round each client sends, of the finished
backbone's features h, the sums over its samples of w, w h by class and w h h'. The head that follows from the totals is
that of all data at one place, whoever holds what. Differences from the paper: the intercept is not penalised, and
classes weigh alike (`balanced`), since under a long tail plain least squares is the head classes'.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.retrained_head import RetrainedHead
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Update, combine
from strategies.fedavg_la import global_counts

ABSENT = -1e4
"""The bias of a class that nobody has: never predicted, and finite, so that losses are."""


@dataclass(frozen=True)
class ClosedForm(RetrainedHead):
    """Training is FedAvg's, or none. Before the end both variants are the averaged head."""

    variant: ClassVar[str] = "closed_form"
    needs: ClassVar[tuple[str, ...]] = (
        "class_prior", "class_counts", "prototypes", "feature_moments", "linear_head", "single_label",
    )  # fmt: skip
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "stages")

    head: Literal["ridge", "gaussian", "nearest_mean"] = "ridge"
    ridge: Annotated[float, "> 0"] = 1.0  # penalty of ridge on squared weights, for features of any scale
    shrinkage: Annotated[float, ">= 0", "<= 1"] = 0.1  # of the Gaussians' common covariance towards a multiple of 1
    balanced: bool = True  # samples weigh n / (C n_c), so that all classes weigh alike; false: all weigh 1
    train: bool = True  # false: the backbone stays what it was at first, of init_from or an encoder

    def fit(self, client: Client) -> None:
        if self.train:
            super().fit(client)

    def conclude(self, client: Client) -> None:
        """Send the moments of the least-squares problem: weights [C], sums [C, D], products [D, D] of the features."""
        features = client.features().double()
        counts = global_counts(client.task, features).double()
        weights = (
            (counts.sum() / ((counts > 0).sum() * counts.clamp(min=1))) if self.balanced else torch.ones_like(counts)
        )
        weighted = F.one_hot(client.data.y, client.task.num_classes) * weights
        products = (features * weighted.sum(1, keepdim=True)).T @ features
        client.extras |= {"weights": weighted.sum(0), "sums": weighted.T @ features, "products": products}

    def concluded(self, server: Server, updates: Iterable[Update]) -> None:
        """Solve for the head in closed form."""
        sums = combine(updates).sums
        with one_thread():
            head = self.solved(sums["weights"], sums["sums"], sums["products"])
        server.outbox["head"] = head.to(server.weights)

    def solved(self, weights: Tensor, sums: Tensor, products: Tensor) -> Tensor:
        """[C, D + 1] the head, the bias last.

        Args:
            weights: [C] of each class's samples.
            sums: [C, D].
            products: [D, D].
        """
        total, there = weights.sum(), weights > 0
        means = sums / weights.clamp(min=1e-12)[:, None]
        identity = torch.eye(len(products)).to(products)

        if self.head == "nearest_mean":
            slopes, biases = means, -means.square().sum(1) / 2
        elif self.head == "gaussian":
            within = (products - (weights[:, None] * means).T @ means) / total
            spread = (1 - self.shrinkage) * within + self.shrinkage * within.trace() / len(within) * identity
            slopes = torch.linalg.solve(spread, means.T).T
            biases = (weights / total).clamp(min=1e-12).log() - (slopes * means).sum(1) / 2
        else:
            # Targets are 1 for the class and -1 for all others; features and targets are taken about their means.
            mean, targets = sums.sum(0) / total, 2 * weights / total - 1
            scatter = products - total * mean[:, None] * mean
            covariance = 2 * (sums - weights[:, None] * mean)
            slopes = torch.linalg.solve(scatter + self.ridge * identity, covariance.T).T
            biases = targets - slopes @ mean

        head = torch.cat([slopes, biases[:, None]], 1)
        nobody = torch.cat([torch.zeros_like(slopes), torch.full_like(biases, ABSENT)[:, None]], 1)
        return torch.where(there[:, None], head, nobody)
