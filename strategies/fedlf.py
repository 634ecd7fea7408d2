"""FedLF: logits are scaled down in training where the client has few samples of a class.

Lu, Li, Jiang: FedLF: Adaptive Logit Adjustment and Feature Optimization in Federated Long-Tailed Learning. ACML 2024.
This is what the official code trains by. Of the paper's other two parts its term that draws features to class centres
is taken of features without gradients, so that it moves nothing, and there is no decorrelation of features in it; both
are left out. The code's logits lack the head's bias, which keeps its random initial values and is used in tests
(`bias=official`); here a model without a bias in both is the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedLF(Strategy):
    """CE of s_c W_c h, with s_c = floor + (1 - floor) n_c / max n; predictions take the logits as they are."""

    needs: ClassVar[tuple[str, ...]] = ("linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    floor: Annotated[float, ">= 0", "<= 1"] = 0.25  # scale of a class that the client lacks
    bias: Literal["none", "official", "trained"] = "none"  # of the head; official: random, used in tests alone

    def build(self, model: Net, task: Task) -> None:
        bias = model.part("head.bias")
        if self.bias == "none" and bias is not None:
            bias.data.zero_()  # and it stays there, since no loss reaches it

    def loss(self, client: Client, batch: Batch) -> Tensor:
        features, head = client.model.encode(batch.x), client.model.head
        logits = head(features) if self.bias == "trained" else F.linear(features, client.model.part("head.weight"))
        return F.cross_entropy(logits * self.scales(client.class_counts), batch.y)

    def scales(self, counts: Tensor) -> Tensor:
        """[C] of a client with these numbers of samples."""
        return self.floor + (1 - self.floor) * counts / torch.clamp(counts.max(), min=1)
