"""BalanceFL: class-balanced local training that keeps the received model's knowledge of the classes a client lacks.

Shuai, Shen, Jiang, Zhao, Yan, Xing: BalanceFL: Addressing Class Imbalance in Long-Tail Federated Learning. IPSN 2022.
Balanced sampling, Gaussian noise on the features of rare classes and an entropy bonus balance what the client has;
distillation over the absent classes' logits alone keeps what it has not. Differences from the official code: present
and absent are the client's classes, there those of the batch; the teacher's logits are computed once a round, in
evaluation mode and without augmentation, there on every batch in training mode; the entropy is a mean over the batch,
with the weight that the code's sum amounts to at its batch size of 64; the head is the model's, there one without bias
whose logits are doubled (`head=doubled`); and clients descend by the scenario's optimiser, there by Adam, whose moments
they keep over rounds (`local.optimizer=adam`, `optimizer_state=kept`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.samplers import Power
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Strategy


class DoubledHead(nn.Linear):
    """[B, C] logits 2 W h of features [B, D], without bias."""

    def __init__(self, feature_dim: int, classes: int) -> None:
        super().__init__(feature_dim, classes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return 2 * super().forward(features)


@dataclass(frozen=True)
class BalanceFL(Strategy):
    """Cross-entropy over present classes - entropy bonus + distillation over absent classes."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()
    young: ClassVar[tuple[str, ...]] = ("head", "optimizer_state")

    inherit: Annotated[float, ">= 0"] = 1.0  # weight of the distillation
    temperature: Annotated[float, "> 0"] = 2.0  # of the distillation
    smooth: Annotated[float, ">= 0"] = 0.128  # weight of the entropy over present classes
    noise: Annotated[float, ">= 0"] = 1.0  # scale of the noise on features of rare classes
    head: Literal["model", "doubled"] = "model"  # doubled: no bias, and logits times two, as in the official code
    optimizer_state: Literal["new", "kept"] = "new"  # in each round; kept: that of the client's round before

    def build(self, model: Net, task: Task) -> None:
        if self.head == "doubled":
            model.head = DoubledHead(model.feature_dim, task.num_classes)

    def fit(self, client: Client) -> None:
        """Local work with feature noise for rare classes and distillation for classes that the client lacks.

        The received model is the teacher. Its features, and the deviations of each class, are those before training.
        """
        client.keep_optimizer = self.optimizer_state == "kept"
        features = client.features()
        with torch.no_grad():
            teacher = client.model.head(features)
        spread = deviations(features, client.data.y, client.task.num_classes)
        rare = 1 - client.class_counts / client.class_counts.max()

        def loss(client: Client, batch: Batch) -> Tensor:
            draws = torch.from_numpy(client.rng.standard_normal((len(batch), len(spread))))
            chosen = torch.from_numpy(client.rng.random(len(batch))).to(spread, non_blocking=True) < rare[batch.y]
            noise = self.noise * chosen[:, None] * (draws.to(spread, non_blocking=True) @ spread)
            return self.balanced_loss(client, batch, noise, teacher[batch.rows])

        client.train(loss, sampler=Power(0.0))

    def balanced_loss(self, client: Client, batch: Batch, noise: Tensor, teacher: Tensor) -> Tensor:
        """Cross-entropy under noise, entropy within the classes at hand, and distillation of those that are absent.

        Args:
            noise: [B, D] on the features, for the cross-entropy alone.
            teacher: [B, C] the received model's logits.
        """
        absent = client.class_counts == 0
        present, lacking = (~absent).nonzero().flatten(), absent.nonzero().flatten()
        features = client.model.encode(batch.x)
        logits, noisy = client.model.head(features).float(), client.model.head(features + noise).float()

        supervised = F.cross_entropy(noisy.masked_fill(absent, -torch.inf), batch.y)

        # Certainty among the classes that the client has, and the teacher's word on those that it lacks.
        own = logits.index_select(1, present).log_softmax(1)
        entropy = -(own.exp() * own).sum(1).mean()
        known = (teacher.index_select(1, lacking) / self.temperature).softmax(1)
        inherited = -(known * (logits.index_select(1, lacking) / self.temperature).log_softmax(1)).sum(1).mean()

        return supervised - self.smooth * entropy + self.inherit * inherited


def deviations(features: Tensor, y: Tensor, classes: int) -> Tensor:
    """[n, D] factor A of the pooled within-class covariance A^T A of features [n, D]: g A has it, g being N(0, I).

    The covariances (over n_c - 1; none for a single sample) are averaged with weights n_c / n.

    Args:
        y: [n] classes.
        classes: their number, C.
    """
    onehot = F.one_hot(y, classes).float()
    counts = onehot.sum(0)
    means = onehot.T @ features / counts.clamp(min=1)[:, None]
    scale = (counts / (counts - 1).clamp(min=1) / len(y)).sqrt()
    return scale[y, None] * (features - means[y])
