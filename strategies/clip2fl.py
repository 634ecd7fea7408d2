"""CLIP2FL: CReFF whose clients learn from a frozen zero-shot teacher, and whose features are drawn to class vectors.

Shi, Zheng, Yin, Lu, Xie, Qu: CLIP-guided Federated Learning on Heterogeneous and Long-Tailed Data. AAAI 2024. The
teacher has seen no long tail: it tells clients of rare classes, and its text features tell the server's synthetic
features where their class lies. Without CLIP, the teacher is the initial model's encoder and its class vectors
(`fedlt.blocks.zero_shot`), so that it knows as much as the run began with. Differences from the official code: the
teacher sees samples once a round, as they are; a class without a vector takes no part; the steps that draw the
synthetic features come before those that match gradients, where the code takes both at once; and CReFF's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.zero_shot import VECTORS, add_teacher, begin_vectors, collect, taught
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Update, combine
from strategies.creff import CReFF


@dataclass(frozen=True)
class CLIP2FL(CReFF):
    """CE + distil T^2 KL(teacher / T || student / T); synthetic features f descend contrast CE(f V / tau, class)."""

    needs: ClassVar[tuple[str, ...]] = (
        "class_vectors", "class_gradients", "prototypes", "linear_head", "prompt_updates", "single_label",
    )  # fmt: skip
    frozen: ClassVar[tuple[str, ...]] = ("teacher.*",)
    learner_parts: ClassVar[tuple[str, ...]] = ()

    distil: Annotated[float, ">= 0"] = 1.0  # weight of the distillation; 0 and contrast=0: CReFF
    temperature: Annotated[float, "> 0"] = 3.0  # T, of the distillation
    contrast: Annotated[float, ">= 0"] = 0.001  # weight of the synthetic features' contrast with the class vectors
    tau: Annotated[float, "> 0"] = 0.1  # temperature of the contrast

    def build(self, model: Net, task: Task) -> None:
        super().build(model, task)
        add_teacher(model)

    def setup(self, server: Server) -> None:
        super().setup(server)
        begin_vectors(server)

    def fit(self, client: Client) -> None:
        """Local work with distillation from the similarities between samples and texts of their classes."""
        self.send_gradients(client)
        teacher, known = taught(client)

        def loss(client: Client, batch: Batch) -> Tensor:
            logits = client.model(batch.x).float()
            value = F.cross_entropy(logits, batch.y)
            if not len(known):
                return value
            return value + self.distil * self.divergence(teacher[batch.rows], logits[:, known])

        client.train(loss)

    def divergence(self, teacher: Tensor, student: Tensor) -> Tensor:
        """T^2 times the mean divergence over samples, of logits [B, K] of the classes that have a vector."""
        given, own = ((logits / self.temperature).log_softmax(1) for logits in (teacher, student))
        return self.temperature**2 * (given.exp() * (given - own)).sum(1).mean()

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Move the synthetic features towards their classes' vectors, then retrain the head as CReFF does."""
        whole = combine(updates)
        collect(server, whole.sums)
        server.state["features"] = self.drawn(server.state["features"], server.outbox[VECTORS])
        super().aggregate(server, [whole])

    def drawn(self, synthetic: Tensor, vectors: Tensor) -> Tensor:
        """[C, M, D] synthetic features after as many steps as the matching takes towards their class's vector and away
        from the others'. They are not normalised, and vectors [C, D] are; those without a vector stay.
        """
        known = vectors.any(1)
        unit, own = F.normalize(vectors[known]), synthetic[known]
        wanted = torch.eye(len(unit)).to(unit)[:, None]
        pace = self.match_lr * self.contrast / self.tau / (len(synthetic) * synthetic.shape[1])
        for _ in range(self.match_steps):
            own = own - pace * ((own @ unit.T / self.tau).softmax(-1) - wanted) @ unit
        drawn = synthetic.clone()
        drawn[known] = own
        return drawn
