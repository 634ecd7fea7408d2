"""FedCRAC: classes that look alike are kept apart by margins, and the server re-trains the head on virtual features.

Li, Sun, Liu, Ren, Jiang, He: FedCRAC: Improving Federated Classification Performance on Long-Tailed Data via Classifier
Representation Adjustment and Calibration. IEEE TMC 2025. A wrong class's logit has a margin in training, the cosine of
the two classes' means. The server draws virtual features from each class's mean and variances, as many as the cohort
has samples, and re-trains the head on them, held near the one it starts from. That is the averaged head here; in the
official code it is the server's own of the round before, so that what clients learn in their heads is never used
(`start=server`). Further differences: features are those of the trained model in evaluation mode, and a class of which
a client has one sample is left out, where the code sends the mean of the client before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Strategy, Update, combine
from fedlt.training.sgd import descend

SCALE = 5.0
"""Of the logits. The code also takes a sample's least logit off all of them, which changes no probability."""

MOMENTUM = 0.9  # Nesterov's, of the re-training
TEMPERATURE = 0.5  # of its distillation


class ScaledHead(nn.Linear):
    """[B, C] logits 5 W h of features [B, D], without bias."""

    def __init__(self, feature_dim: int, classes: int) -> None:
        super().__init__(feature_dim, classes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return SCALE * super().forward(features)


@dataclass(frozen=True)
class FedCRAC(Strategy):
    """CE of 5 (W_c h + margin cos(m_c, m_y) for c other than y); the head then learns from virtual features."""

    needs: ClassVar[tuple[str, ...]] = ("prototypes", "class_counts", "linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    margin: Annotated[float, ">= 0"] = 1.0  # of classes whose means point the same way, and of all at first
    steps: Annotated[int, ">= 0"] = 300  # of the re-training, on all virtual features at once
    head_lr: Annotated[float, "> 0"] = 0.01
    label: Annotated[float, ">= 0"] = 0.5  # weight of the cross-entropy in it
    teacher: Annotated[float, ">= 0"] = 0.125  # weight of the distillation from the head that it starts from
    start: Literal["averaged", "server"] = "averaged"  # server: its own head of the round before (official)

    def build(self, model: Net, task: Task) -> None:
        model.head = ScaledHead(model.feature_dim, task.num_classes)

    def setup(self, server: Server) -> None:
        classes = server.task.num_classes
        server.state["means"] = torch.zeros(classes, server.model.feature_dim, device=server.weights.device)
        server.outbox["margins"] = self.margin * (1 - torch.eye(classes, device=server.weights.device))

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return F.cross_entropy(client.model(batch.x) + SCALE * client.received["margins"][batch.y], batch.y)

    def fit(self, client: Client) -> None:
        """After the training, of classes of two samples and more: numbers, and these times means and variances."""
        super().fit(client)
        features, y = client.features(), client.data.y
        counts = torch.where(client.class_counts > 1, client.class_counts, 0).float()
        sums = client.start.new_zeros(len(counts), features.shape[1])
        means = sums.index_add(0, y, features) / client.class_counts.clamp(min=1)[:, None]
        squares = sums.index_add(0, y, (features - means[y]).square()) / (counts - 1).clamp(min=1)[:, None]
        client.extras["counts"] = counts
        client.extras["means"], client.extras["variances"] = (counts[:, None] * part for part in (means, squares))

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean model, its head re-trained on virtual features drawn from the classes' means and variances."""
        whole = combine(updates)
        head = server.model.part("head.weight")
        before = head.detach().clone()
        server.weights = whole.mean

        counts = whole.sums["counts"]
        means, variances = (whole.sums[name] / counts.clamp(min=1)[:, None] for name in ("means", "variances"))
        with torch.no_grad(), one_thread():
            labels = torch.arange(len(counts), device=counts.device).repeat_interleave(counts.long())
            noise = torch.from_numpy(server.rng.standard_normal((len(labels), means.shape[1]))).to(means)
            virtual = means[labels] + variances[labels].sqrt() * noise
            head.copy_(self.calibrated(virtual, labels, before if self.start == "server" else head.detach().clone()))

            server.state["means"] = torch.where(counts[:, None] > 0, means, server.state["means"])
            server.outbox["margins"] = self.margins(server.state["means"])

    def margins(self, means: Tensor) -> Tensor:
        """[C, C] of a true class, and of another one; as at first where a class's mean is not known."""
        known = means.norm(dim=1) > 0
        unit = F.normalize(means)
        cosines = torch.where(known[:, None] & known, unit @ unit.T, 1.0)
        return self.margin * cosines.fill_diagonal_(0)

    def calibrated(self, features: Tensor, y: Tensor, start: Tensor) -> Tensor:
        """[C, D] a head re-trained on features [n, D] from `start`, which is the teacher as well.

        Args:
            features: [n, D] virtual ones.
            y: [n] their classes.
            start: [C, D] the head that it begins with.
        """
        if not len(y):
            return start
        head, velocity = start.clone(), None
        wanted = F.one_hot(y, len(start)).to(features)
        taught = (SCALE * features @ start.T / TEMPERATURE).softmax(1)

        for _ in range(self.steps):
            logits = SCALE * features @ head.T
            error = self.label * (logits.softmax(1) - wanted)
            error += self.teacher * ((logits / TEMPERATURE).softmax(1) - taught) / TEMPERATURE / len(start)
            slope = SCALE * error.T @ features / len(y)
            velocity = descend([head], [slope], velocity, self.head_lr, MOMENTUM, 0.0, nesterov=True)
        return head
