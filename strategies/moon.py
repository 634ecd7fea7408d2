"""MOON: a sample's representation is drawn to the received model's and pushed from that of the client's last model.

Li, He, Song: Model-Contrastive Federated Learning. CVPR 2021. The representation is the output of a projection between
backbone and head, through which predictions pass as well. As in the official code a client's first round has no
contrast: its last model is not there yet. Differences from the code: there it is a random model for a client that was
not sampled before, and its store of several last models, of which the older ones become equal, is left out: one is
kept, as in its recipes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.blocks.teacher import Teacher
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Strategy


class ProjectedHead(nn.Module):
    """[B, C] logits of features [B, D], through a representation [B, dim]: D -> D -> dim with ReLU between."""

    def __init__(self, feature_dim: int, dim: int, classes: int) -> None:
        super().__init__()
        inner = nn.Linear(feature_dim, feature_dim)
        self.projection = nn.Sequential(inner, nn.ReLU(), nn.Linear(feature_dim, dim))
        self.linear = nn.Linear(dim, classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.projection(features))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class MOON(Strategy):
    """CE - mu log(e^(cos(z, received) / tau) / (e^(cos(z, received) / tau) + e^(cos(z, last) / tau)))."""

    needs: ClassVar[tuple[str, ...]] = ("linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    mu: Annotated[float, ">= 0"] = 1.0  # weight of the contrast; 0 is FedAvg. The official recipe has 5 on CIFAR-10
    tau: Annotated[float, "> 0"] = 0.5  # temperature
    projection: Annotated[int, ">= 0"] = 256  # numbers in a representation; 0: the features, with no projection

    def build(self, model: Net, task: Task) -> None:
        if self.projection:
            model.head = ProjectedHead(model.feature_dim, self.projection, task.num_classes)

    def fit(self, client: Client) -> None:
        """Local work, with features pulled to the received model's and away from those of the client's last model."""
        if not self.mu:
            client.train(self.loss)
            return

        if "last" in client.state:
            received, last = Teacher(client), Teacher(client, client.state["last"])

            def loss(client: Client, batch: Batch) -> Tensor:
                features = client.model.encode(batch.x)
                others = (teacher.ask(_encoded, batch.x) for teacher in (received, last))
                contrast = self.contrast(_representation(client.model, features), *others)
                return F.cross_entropy(client.model.head(features), batch.y) + self.mu * contrast

            client.train(loss)
        else:
            client.train(self.loss)
        client.state["last"] = client.vector.clone()

    def contrast(self, z: Tensor, received: Tensor, last: Tensor) -> Tensor:
        """Mean over the batch, of representations [B, dim] of the three models.

        Args:
            z: [B, dim] of the model in training.
            received: of the received model.
            last: of the client's last one.
        """
        cosines = torch.stack([F.cosine_similarity(z, other) for other in (received, last)], 1)
        return F.cross_entropy(cosines.float() / self.tau, torch.zeros(len(z), dtype=torch.long, device=z.device))


def _representation(model: Net, features: Tensor) -> Tensor:
    """[B, dim] what features [B, D] become before the last layer."""
    head = model.head
    return head.projection(features) if isinstance(head, ProjectedHead) else features  # type: ignore[no-any-return]


def _encoded(model: Net, x: Tensor) -> Tensor:
    return _representation(model, model.encode(x))
