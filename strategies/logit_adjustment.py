"""Logit adjustment by the global class shares: the simple baseline that every federated long-tail method must beat.

Menon, Jayasumana, Rawat, Jain, Veit, Kumar: Long-Tail Learning via Logit Adjustment. ICLR 2021, equations 9 (post hoc)
and 10 (loss). The paper is centralized; here every client adjusts by the shares of the union, or the server's model is
adjusted when it predicts. A learner's logit adjustment uses the client's own shares instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.nn.net import Net
from fedlt.site import Batch
from fedlt.strategy import Client, Server, Strategy
from fedlt.task import Task


@dataclass(frozen=True)
class LogitAdjustment(Strategy):
    """FedAvg with tau log(share) added to the logits in training, or taken from them in prediction."""

    needs: ClassVar[tuple[str, ...]] = ("class_prior",)
    uses_learner: ClassVar[bool] = False

    tau: Annotated[float, ">= 0"] = 1.0
    when: Literal["training", "prediction"] = "training"

    def loss(self, client: Client, batch: Batch) -> Tensor:
        logits = client.model(batch.x)
        return F.cross_entropy(logits + self.shift(client.task, logits) * (self.when == "training"), batch.y)

    def personal(self, client: Client, x: Tensor) -> Tensor | dict[str, Tensor]:
        return self.predict(client.model, client.task, x)

    def generic(self, server: Server, x: Tensor) -> Tensor | dict[str, Tensor]:
        return self.predict(server.model, server.task, x)

    def predict(self, model: Net, task: Task, x: Tensor) -> Tensor | dict[str, Tensor]:
        """In prediction the adjusted logits are the headline, and the plain ones, FedAvg's, a variant."""
        logits = model(x)
        if self.when == "training":
            return logits
        return {"adjusted": logits - self.shift(task, logits), "plain": logits}

    def shift(self, task: Task, like: Tensor) -> Tensor:
        """[C] tau log(share); a class without any sample counts as if it had one."""
        counts = torch.from_numpy(task.class_counts).to(like.device, torch.float32).clamp(min=1)
        return self.tau * (counts / counts.sum()).log()
