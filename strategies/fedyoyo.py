"""FedYoYo: logits adjusted by a mixture of global and local class shares; weak views of a sample teach strong ones.

Yan, Li, Wu, Pang, Lu, Yan, Wang: You Are Your Own Best Teacher: Achieving Centralized-level Performance in Federated
Learning under Heterogeneous and Long-tailed Data. ICCV 2025. The global shares come from effective numbers of samples,
which the clients compute on features. Differences from the official code: its local shares are mixed in anew at every
batch, so that the mixture soon is the local shares alone (`remix=true`); here the mixture is fixed in a round. The
strong view is cropped, flipped and cut out, without AutoAugment; the weak one is the scenario's, without rotation. The
shares used in a round were counted in the round before, which saves an exchange, and are equal in the first. A class's
effective number is at most its number of samples, which replaces two thresholds against explosions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Server, Strategy, Update, combine


@dataclass(frozen=True)
class FedYoYo(Strategy):
    """Adjusted cross-entropy of both views, and KL from the weak to the strong view where the weak one is right."""

    needs: ClassVar[tuple[str, ...]] = ("class_counts", "single_label")  # effective numbers give the counts away
    learner_parts: ClassVar[tuple[str, ...]] = ()

    tau: Annotated[float, ">= 0"] = 1.5  # strength of the logit adjustment
    gamma: Annotated[float, ">= 0", "<= 1"] = 0.1  # weight of the local shares in the mixture
    remix: bool = False  # mix the local shares in at every batch, as the official code does
    strength: Annotated[float, ">= 0"] = 1.5  # weight of the distillation; the official script takes 4
    temperature: Annotated[float, "> 0"] = 1.5  # of the distillation
    warmup: Annotated[float, "> 0", "<= 1"] = 0.25  # share of the run over which the distillation rises
    strong: Literal["crop_flip_cutout", "crop_cutout", "crop_flip", "crop", "flip"] = "crop_flip_cutout"  # second view
    memory: Annotated[float, ">= 0", "< 1"] = 0.9  # of the effective numbers over rounds

    def build(self, model: Net, task: Task) -> None:
        task.inputs.require("views")

    def setup(self, server: Server) -> None:
        server.outbox["shares"] = server.weights.new_full((server.task.num_classes,), 1 / server.task.num_classes)

    def fit(self, client: Client) -> None:
        """Send the effective number of samples of each class, by the features' diversity, then train."""
        order = torch.from_numpy(client.rng.permutation(client.num_samples)).to(client.start.device, non_blocking=True)
        features, y = client.features()[order], client.data.y[order]
        client.extras["effective"] = effective_numbers(features, y, client.task.num_classes)
        super().fit(client)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """Cross-entropy on two views with logits adjusted by global shares, and distillation from the weak to the
        strong one.
        """
        views = torch.cat([batch.x, client.view(batch, self.strong)])
        logits = client.model(views).float() + (self.shares(client) ** self.tau + 1e-9).log()
        teacher, student = logits.detach()[: len(batch)], logits[len(batch) :]
        right = (teacher.argmax(1) == batch.y).float()
        teacher, student = (part.div(self.temperature).log_softmax(1) for part in (teacher, student))
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        weight = self.strength * min(1.0, (client.progress + client.span) / self.warmup)  # of round r: r / 50 in 200
        return F.cross_entropy(logits, batch.y.repeat(2)) + weight * (right @ divergence) / right.sum().clamp(min=1)

    def shares(self, client: Client) -> Tensor:
        """[C] the mixture of global and local class shares."""
        global_part = (1 - self.gamma) ** (client.num_steps + 1 if self.remix else 1)
        return global_part * client.received["shares"] + (1 - global_part) * client.class_counts / client.num_samples

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean model; the global shares follow the effective numbers by a running mean."""
        whole = combine(updates)
        now = 1 + whole.sums["effective"]
        former = server.state.get("effective", now)
        server.state["effective"] = self.memory * former + (1 - self.memory) * now
        server.outbox["shares"] = server.state["effective"] / server.state["effective"].sum()
        server.weights = whole.mean


def effective_numbers(features: Tensor, y: Tensor, classes: int, batch: int = 32) -> Tensor:
    """[C] effective numbers of samples, summed over batches of the features [n, D], which come in random order.

    In a batch with n_c features of a class it is 1 / mean(R), between 1 and n_c, R being the n_c x n_c cosines of the
    features about their class's mean over all of them. (The mean of R is the squared norm of the mean direction.)

    Args:
        features: [n, D].
        y: [n] their classes.
        classes: C.
        batch: samples of a batch.
    """
    onehot = F.one_hot(y, classes).float()
    means = onehot.T @ features / onehot.sum(0).clamp(min=1)[:, None]
    directions = F.normalize(features - means[y], dim=1)

    total = onehot.new_zeros(classes)
    for members, part in zip(onehot.split(batch), directions.split(batch), strict=True):
        counts = members.sum(0)
        correlation = (members.T @ part / counts.clamp(min=1)[:, None]).square().sum(1)
        total += torch.minimum(counts, 1 / correlation.clamp(min=1e-6))

    return total
