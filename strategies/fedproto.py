"""FedProto: clients share class means of their features and nothing else; models stay at home, and need not be alike.

Tan, Long, Liu, Zhou, Lu, Jiang, Zhang: FedProto: Federated Prototype Learning across Heterogeneous Clients. AAAI 2022.
Features are drawn to their class's prototype, the mean of the clients' class means, and a sample belongs to the nearest
one. As in the official code clients count alike in a prototype, however many samples they have. Differences from the
code: a class's mean is taken of the trained model in evaluation mode, there over the last epoch while it trains; a
class that the cohort lacks keeps its prototype, there all clients take part in each round; and all prototypes are asked
in tests, where the code asks those of the client's own classes, which is the masked figure here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Server, Strategy, Update, combine

FAR = 1e9  # squared distance from a class without a prototype
AT_ONCE = 2**24  # differences of features and prototypes that are held at a time


@dataclass(frozen=True)
class FedProto(Strategy):
    """CE + pull |h - prototype of y|^2 / D, on a model of the client's own."""

    needs: ClassVar[tuple[str, ...]] = ("prototypes", "head", "single_label")
    private: ClassVar[tuple[str, ...]] = ("*",)
    scope: ClassVar[str] = "personal"
    learner_parts: ClassVar[tuple[str, ...]] = ()

    pull: Annotated[float, ">= 0"] = 1.0  # weight of the distance to the prototype; 0 trains as `local` does

    def setup(self, server: Server) -> None:
        size = server.task.num_classes, server.model.feature_dim
        server.outbox["prototypes"] = torch.zeros(size, device=server.weights.device)
        server.outbox["known"] = torch.zeros(size[:1], device=server.weights.device)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """A sample whose class has no prototype counts with the distance 0."""
        features = client.model.encode(batch.x)
        loss = F.cross_entropy(client.model.head(features), batch.y)
        if not self.pull:
            return loss
        away = features - client.received["prototypes"][batch.y]
        return loss + self.pull * (client.received["known"][batch.y, None] * away.square()).mean()

    def fit(self, client: Client) -> None:
        """Local work, after which the client sends the mean feature of each of its classes."""
        super().fit(client)
        features = client.features()
        sums = torch.zeros_like(client.received["prototypes"]).index_add_(0, client.data.y, features)
        client.extras["means"] = sums / client.class_counts.clamp(min=1)[:, None]
        client.extras["holders"] = (client.class_counts > 0).float()

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """A class's prototype is the mean over the clients that have it; without any it stays."""
        sums = combine(updates).sums
        present = sums["holders"] > 0
        means = sums["means"] / sums["holders"].clamp(min=1)[:, None]
        server.outbox["prototypes"] = torch.where(present[:, None], means, server.outbox["prototypes"])
        server.outbox["known"] = torch.maximum(server.outbox["known"], present.float())

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The nearest prototype is the headline; until there are any, the head stands for both."""
        features = client.model.encode(x)
        head = client.model.head(features)
        known = client.received["known"] > 0
        if not known.any():
            return {"nearest": head, "head": head}
        away = distances(features, client.received["prototypes"])
        return {"nearest": -torch.where(known, away, FAR), "head": head}


def distances(features: Tensor, prototypes: Tensor) -> Tensor:
    """[B, C] mean squared differences of features [B, D] and prototypes [C, D], of some classes at a time."""
    classes = max(1, AT_ONCE // max(1, features.numel()))
    return torch.cat([(features[:, None] - part).square().mean(2) for part in prototypes.split(classes)], 1)
