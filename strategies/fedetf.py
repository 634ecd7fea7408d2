"""FedETF: normalised features learn towards a fixed simplex, with a balanced softmax and a learnable temperature.

Zexi Li, Xinyi Shang, Rui He, Tao Lin, Chao Wu: No Fear of Classifier Biases: Neural Collapse Inspired Federated
Learning with Synthetic and Fixed Classifier. ICCV 2023. All clients learn towards the same class vectors, so that no
classifier can be biased. For its personal model a client tunes class vectors and projection in turn. A class that a
client lacks counts as one sample in its loss, as in the official code, on which the reported figures rest; the paper's
formula, where it counts as none and is left out, is `absent=0`. Differences from the official code: its projection has
as many outputs as there are classes, ours as many as the larger of classes and features; its personal models take a
round of full local training and 20 turns of 2 x 3 epochs, ours `turns` turns on the features of samples without
augmentation, with one learning rate for both parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlt.blocks.priors import log_counts
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.etf import EtfHead
from fedlt.nn.net import Net
from fedlt.strategy import Client, Strategy

PROTOTYPES = "head.prototypes"


@dataclass(frozen=True)
class FedETF(Strategy):
    """The prototypes are private: equal everywhere and untrained, until a client tunes them for its personal model."""

    needs: ClassVar[tuple[str, ...]] = ("linear_head", "single_label")
    private: ClassVar[tuple[str, ...]] = (PROTOTYPES,)
    learner_parts: ClassVar[tuple[str, ...]] = ()

    scale: Annotated[float, "> 0"] = 1.0  # initial inverse temperature; it is learnt
    dim: Annotated[int, ">= 2"] | None = None  # of the simplex's space; null: the larger of classes and features
    absent: Annotated[float, ">= 0"] = 1.0  # samples that a class counts as which the client lacks; 0: it is left out
    turns: Annotated[int, ">= 0"] = 5  # of tuning prototypes, then projection; 0: the generic model for every client
    tune_epochs: Annotated[int, ">= 1"] = 3
    tune_lr: Annotated[float, "> 0"] = 0.05

    def build(self, model: Net, task: Task) -> None:
        dim = self.dim or max(task.num_classes, model.feature_dim)
        model.head = EtfHead(model.feature_dim, task.num_classes, dim, self.scale)

    def fit(self, client: Client) -> None:
        client.train(self.loss, only=("backbone.*", "head.projection.*", "head.scale"))

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """Balanced softmax (Ren et al., NeurIPS 2020) with the client's own counts, absent classes counting as one."""
        return cross_entropy(client.model(batch.x) + log_counts(client.class_counts, self.absent), batch.y)

    def adapt(self, client: Client) -> None:
        """Fine-tune prototypes and projection in turns, on features of the frozen backbone."""
        if self.turns:
            own = client.encoded()
            for _ in range(self.turns):
                for part in (PROTOTYPES, "head.projection.*"):
                    own.train(_cross_entropy, only=(part,), epochs=self.tune_epochs, lr=self.tune_lr)


def _cross_entropy(client: Client, batch: Batch) -> Tensor:
    """Plain, whatever the client lacks."""
    return cross_entropy(client.model(batch.x), batch.y)
