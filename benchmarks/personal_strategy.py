"""A private head beside the shared one, on a shared backbone: the shape of FedLoGe, FedRoD and their like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from fedlt import Batch, Client, Strategy


@dataclass(frozen=True)
class PrivateHead(Strategy):
    """The shared model learns as in FedAvg; the private head learns on its features, without moving them."""

    private: ClassVar[tuple[str, ...]] = ("local_head.*",)

    cached: bool = True  # personal models share one pass of the test set; false: a pass for each client

    def build(self, model, task) -> None:
        model.local_head = nn.Linear(model.feature_dim, task.num_classes)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        features = client.model.encode(batch.x)
        own = client.model.local_head(features.detach())
        return F.cross_entropy(client.model.head(features), batch.y) + F.cross_entropy(own, batch.y)

    def personal(self, client: Client, x: Tensor) -> Tensor:
        model = client.model
        return model.local_head(model.encode(x if self.cached else x.inputs()))
