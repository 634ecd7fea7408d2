"""RUCR: global class prototypes pull the features, and in the last rounds heads are re-trained on mixtures with them.

Federated Learning with Long-Tailed Non-IID Data via Representation Unification and Classifier Rectification (2024;
title as in the repository liuyuxia211/RUCR, which names neither authors nor venue). Clients share their class means,
and each re-trains its head on equally many virtual features of every class. Differences from the official code: the
prototypes used in a round come from the round before, which saves an exchange, and a class that no client of a cohort
has keeps its prototype; in the last rounds too they come from the cohort, there from all clients; features of class
means are taken in evaluation mode, there in training mode (`means=training`: with batch normalisation, by the
statistics of each batch, which leave no trace in the model's own).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.retrained_head import RetrainedHead
from fedlt.data.site import Batch
from fedlt.nn.net import LossModule
from fedlt.nn.softmax import head_of, regress
from fedlt.strategy import Client, Server, Update, combine
from fedlt.training.trainer import cut


@dataclass(frozen=True)
class RUCR(RetrainedHead):
    """Cross-entropy, plus `pull` times a softmax over cosines with the prototypes of the client's classes."""

    needs: ClassVar[tuple[str, ...]] = ("class_counts", "prototypes", "linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()
    variant: ClassVar[str] = "rectified"
    young: ClassVar[tuple[str, ...]] = ("means",)

    pull: Annotated[float, ">= 0"] = 0.15
    temperature: Annotated[float, "> 0"] = 0.9  # of the cosines
    rectify: Annotated[float, ">= 0", "<= 1"] = 0.13  # share of the rounds, the last ones, that re-train heads
    virtual: Annotated[int, ">= 1"] = 100  # mixed features of each class
    low: Annotated[float, ">= 0", "<= 1"] = 0.35  # the prototype's part in them is uniform from low ...
    high: Annotated[float, ">= 0", "<= 1"] = 0.95  # ... to high
    head_epochs: Annotated[int, ">= 0"] = 50
    head_lr: Annotated[float, "> 0"] = 0.01
    head_batch: Annotated[int, ">= 1"] = 256
    means: Literal["evaluation", "training"] = "evaluation"  # mode in which features of class means are computed

    def setup(self, server: Server) -> None:
        """No prototypes yet, and equal shares of all classes."""
        classes, like = server.task.num_classes, server.weights
        for name in ("prototypes", "directions"):
            server.outbox[name] = like.new_zeros(classes, server.model.feature_dim)
        server.outbox["shares"] = like.new_full((classes,), 1 / classes)

    def fit(self, client: Client) -> None:
        """Send the sums of the features by class, train, and in the last rounds send a rectified head."""
        features = client.features()
        onehot = F.one_hot(client.data.y, client.task.num_classes).float()
        averaged = self._in_training(client) if self.means == "training" else features
        sums, counts = onehot.T @ averaged, onehot.sum(0)
        client.extras |= {"sums": sums, "counts": counts, "directions": counts[:, None] * F.normalize(sums, dim=1)}
        super().fit(client)
        if client.progress >= 1 - self.rectify:
            head = self.rectified(features, client.received["directions"], head_of(client.model), client.rng)
            client.extras["head"] = client.num_samples * head

    @staticmethod
    def _in_training(client: Client) -> Tensor:
        """[n, D] features of the client's samples in their order, under the statistics of each batch."""
        from torch.func import functional_call  # takes a while to import

        model, backbone, trainer = client.model, client.model.backbone, client.trainer
        encoder = LossModule(model, model.encode)
        moved = {f"model.backbone.{name}": buffer.clone() for name, buffer in backbone.named_buffers()}  # in its place
        order = torch.arange(client.num_samples, device=trainer.device)
        trainer.work.forward_samples += client.num_samples
        backbone.train()
        with torch.no_grad():
            batches = (
                client.data.batch(part).x for part in cut(order, trainer.local.batch_size, trainer.local.last_batch)
            )
            features = torch.cat([functional_call(encoder, moved, (x,)) for x in batches])
        backbone.eval()
        return features

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """The true class's logit has the log of its global share added, a margin; absent classes have cosine 0."""
        features = client.model.encode(batch.x)
        prototypes = F.normalize(client.received["prototypes"], dim=1) * (client.class_counts > 0)[:, None]
        cosines = F.normalize(features, dim=1) @ prototypes.T / self.temperature
        margin = F.one_hot(batch.y, len(prototypes)) * client.received["shares"].log()
        unified = F.cross_entropy(cosines + margin, batch.y)
        return F.cross_entropy(client.model.head(features), batch.y) + self.pull * unified

    def rectified(self, features: Tensor, directions: Tensor, head: Tensor, rng: np.random.Generator) -> Tensor:
        """[C, D + 1] the head after regression on mixtures of a class's direction and any own feature's direction.

        Args:
            features: [n, D] of the client.
            directions: [C, D] of all classes; zeros where a class has none yet.
            head: [C, D + 1] to begin with.
            rng: of the mixtures.
        """
        known = directions.norm(dim=1).nonzero().flatten()
        size = len(known), self.virtual
        part = torch.from_numpy(rng.uniform(self.low, self.high, size)).to(features)[..., None]
        chosen = F.normalize(features, dim=1)[torch.from_numpy(rng.integers(len(features), size=size))]
        mixed = (part * directions[known, None] + (1 - part) * chosen).flatten(0, 1)
        labels = known.repeat_interleave(self.virtual)
        return regress(mixed, labels, head, rng, self.head_epochs, self.head_lr, self.head_batch)

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Prototypes, directions and shares of the classes over the clients that have them; then the mean model."""
        whole, outbox = combine(updates), server.outbox
        counts = whole.sums["counts"]
        for name, total in (("prototypes", "sums"), ("directions", "directions")):
            mean = whole.sums[total] / counts.clamp(min=1)[:, None]
            outbox[name] = torch.where(counts[:, None] > 0, mean, outbox[name])
        outbox["shares"] = counts.clamp(min=1) / counts.clamp(min=1).sum()
        if "head" in whole.sums:
            outbox["head"] = whole.sums["head"] / whole.weight
        server.weights = whole.mean
