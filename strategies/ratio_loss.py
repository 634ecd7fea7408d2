"""Ratio Loss: the server sees by its own samples which classes the model has learnt less, and clients weigh those more.

Wang, Xu, Wang, Zhu: Addressing Class Imbalance in Federated Learning. AAAI 2021. In each round the server trains the
model that the clients received on the samples of one class at a time. A weight of the head belongs to the class whose
training raises it most, if no other class moves it nearly as much; a class's ratio is how much its training moves its
weights, over how much that of the other classes does. Where the other classes hardly move them, the model has hardly
met the class. As in the official code the weights follow a round later, and weighted losses are not divided by their
weights. Differences: the server trains in evaluation mode; the paper's monitor of each round's composition, which does
not reach the code's loss, is left out; clients count by their samples, there alike; the loss is taken of log-softmax,
where the logarithm of a softmax may be infinite.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Server, Strategy, Update, combine
from fedlt.training.at_server import ServerTrainer, batches

NEARLY = 0.8  # of the largest rise: a class that moves a weight by more shares it, and nobody owns it
UNKNOWN = 10.0  # ratio of a class whose weights the others do not move at all


@dataclass(frozen=True)
class RatioLoss(Strategy):
    """Mean of w_y CE with w_c = 1 + strength R_c; R_c is the ratio of class c a round before."""

    needs: ClassVar[tuple[str, ...]] = ("auxiliary_set", "linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    strength: Annotated[float, ">= 0"] = 0.1  # 0: FedAvg
    most: Annotated[float, "> 0"] = 5000.0  # bound of a ratio
    epochs: Annotated[int, ">= 1"] = 2  # of the server's training on each class
    batch: Annotated[int, ">= 1"] = 64
    lr: Annotated[float, "> 0"] = 0.001  # of its SGD; ratios hardly depend on it
    momentum: Annotated[float, ">= 0", "< 1"] = 0.9
    weight_decay: Annotated[float, ">= 0"] = 0.0005

    def setup(self, server: Server) -> None:
        server.outbox["class_weights"] = torch.ones(server.task.num_classes, device=server.weights.device)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        each = F.cross_entropy(client.model(batch.x), batch.y, reduction="none")
        return (client.received["class_weights"][batch.y] * each).mean()

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """Class weights from how the head's rows have changed on the server's own samples, then the mean model."""
        if self.strength:
            excess = ratios(self.changes(server)).clamp(max=self.most)
            server.outbox["class_weights"] = 1 + self.strength * excess
        server.weights = combine(updates).mean

    def changes(self, server: Server) -> Tensor:
        """[C, C, D] how the head's weights change by training on each class alone; the model stays as it is."""
        own = server.auxiliary
        assert own is not None  # the need is declared
        start, head = server.weights.clone(), server.model.part("head.weight")
        before, changed = head.detach().clone(), []
        for label in range(server.task.num_classes):
            rows = replace(own, index=own.index[own.y == label])
            steps = self.epochs * -(-len(rows) // self.batch)
            trainer = ServerTrainer(server, "sgd", momentum=self.momentum, weight_decay=self.weight_decay, moving=False)
            trainer.train(
                lambda batch: F.cross_entropy(server.model(batch.x), batch.y),
                batches(server.rng, rows, self.batch, steps),
                self.lr,
            )
            changed.append(head.detach() - before)
            server.weights = start
        return torch.stack(changed)


def ratios(changes: Tensor) -> Tensor:
    """[C] by changes [C, ...] of the same weights under training on each class."""
    classes = len(changes)
    largest, owner = changes.max(0)
    alone = (changes.abs() > NEARLY * largest.abs()).sum(0) < 2
    owned = (owner == torch.arange(classes, device=owner.device).view(-1, *[1] * owner.ndim)) & alone

    others = (changes.sum(0) - changes) / (classes - 1)
    mine, theirs = ((owned * part).flatten(1).sum(1).abs() for part in (changes, others))
    return torch.where(theirs > 0, mine / theirs, UNKNOWN)
