"""FedRoD: a generic head with a class-balanced loss, and a personal head on top of its logits.

Hong-You Chen, Wei-Lun Chao: On Bridging Generic and Personalized Federated Learning for Image Classification.
ICLR 2022. One network serves two tasks: the balanced softmax makes the shared part generic; what a client's own
distribution adds is learnt by a head that the client keeps. This is the linear variant with balanced softmax, written
after the paper, since the official repository holds no code: a class that a client lacks is left out of its generic
loss. FedETF's authors, who re-implement it, let such a class count as one sample (`absent=1`). The version in the
FedLoGe repository is another method: plain cross-entropy for the generic head, and a personal head trained by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedlt.blocks.priors import log_counts
from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedRoD(Strategy):
    """Model: `backbone` and `head` (shared), `local_head` (private, on detached features and logits)."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    private: ClassVar[tuple[str, ...]] = ("local_head.*",)
    learner_parts: ClassVar[tuple[str, ...]] = ()
    young: ClassVar[tuple[str, ...]] = ("absent",)

    absent: Annotated[float, ">= 0"] = 0.0  # samples that a class counts as which the client lacks; 0: it is left out

    def build(self, model: Net, task: Task) -> None:
        model.local_head = nn.Linear(model.feature_dim, task.num_classes)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """CE(g + log n_k, y) + CE(stop(g) + p, y): the balanced softmax for the shared part, plain for the sum."""
        features = client.model.encode(batch.x)
        generic = client.model.head(features)
        own = client.model.part("local_head")(features.detach())
        balanced = cross_entropy(generic + log_counts(client.class_counts, self.absent), batch.y)
        return balanced + cross_entropy(generic.detach() + own, batch.y)

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The sum of both heads is the headline."""
        features = client.model.encode(x)
        generic, own = client.model.head(features), client.model.part("local_head")(features)
        return {"sum": generic + own, "generic": generic}
