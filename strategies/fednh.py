"""FedNH: class prototypes serve as the head; they start evenly spread and slowly take up the clients' class means.

Dai, Chen, Li, Heinecke, Sun, Xu: Tackling Data Heterogeneity in Federated Learning with Class Prototypes. AAAI 2023.
Clients train through the fixed prototypes, whose even spread keeps rare classes apart; the server smooths in the
normalised class means. Differences from the official code: prototypes start as the simplex, the even spread that the
code searches for, while its configurations start from orthogonal ones (`prototypes=orthogonal`) at a scale of 1 or 20
and clip gradients at a norm of 10, which is left out; clients count by their samples in the backbone's mean; the
variant with confidence-weighted means is left out. As in the code the personal model is the received one after a round
of local training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fedlt.data.task import Task
from fedlt.nn.etf import simplex_etf
from fedlt.nn.net import Net
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Strategy, Update


class PrototypeHead(nn.Module):
    """Logits scale * cos(feature, prototype).

    Attributes:
        prototypes: [C, D] unit rows, not trained.
        scale: trained.
    """

    prototypes: Tensor

    def __init__(self, prototypes: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("prototypes", prototypes)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * normalize(features, dim=1) @ self.prototypes.T


@dataclass(frozen=True)
class FedNH(Strategy):
    """W <- normalize(rho * W + (1 - rho) * normalize(sum over clients of n_kc times their normalised class means))."""

    needs: ClassVar[tuple[str, ...]] = ("prototypes", "linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "stages", "prediction")  # the head is replaced
    young: ClassVar[tuple[str, ...]] = ("prototypes",)

    rho: Annotated[float, ">= 0", "<= 1"] = 0.9  # how much of the prototypes stays; 1: they never move
    scale: Annotated[float, "> 0"] = 30.0  # of the cosines, at first
    prototypes: Literal["simplex", "orthogonal"] = "simplex"  # how they lie at first

    def build(self, model: Net, task: Task) -> None:
        seed = int(torch.randint(2**31, ()))
        start = simplex_etf if self.prototypes == "simplex" else orthonormal_rows
        model.head = PrototypeHead(start(task.num_classes, model.feature_dim, seed), self.scale)

    def fit(self, client: Client) -> None:
        """In the place of the prototypes, which it did not change, a client sends class means times counts."""
        super().fit(client)
        features = torch.cat(client.scan(lambda batch: normalize(client.model.encode(batch.x), dim=1)))
        sums = torch.zeros_like(client.model.part("head.prototypes")).index_add_(0, client.data.y, features)
        scaled = normalize(sums, dim=1) * client.class_counts[:, None]
        client.model.part("head.prototypes").copy_(scaled / client.num_samples)

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """A class that no client of the cohort has keeps its prototype."""
        old = server.model.part("head.prototypes").clone()
        super().aggregate(server, updates)
        means = normalize(server.model.part("head.prototypes"), dim=1)
        server.model.part("head.prototypes").copy_(normalize(self.rho * old + (1 - self.rho) * means, dim=1))

    def adapt(self, client: Client) -> None:
        client.train(self.loss)


def orthonormal_rows(num_classes: int, feature_dim: int, seed: int) -> Tensor:
    """float32 [C, D]: C orthogonal unit rows in a random orientation.

    Args:
        num_classes: C.
        feature_dim: D.
        seed: of the orientation.

    Raises:
        ValueError: for D < C.
    """
    if feature_dim < num_classes:
        raise ValueError(f"{num_classes} orthogonal prototypes need as many features, and there are {feature_dim}")
    drawn = torch.randn(feature_dim, num_classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with one_thread():
        return torch.linalg.qr(drawn)[0].T.contiguous().float()
