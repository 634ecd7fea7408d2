"""FedGELA: one fixed simplex for all, whose rows each client scales by its own class frequencies.

Ziqing Fan, Jiangchao Yao, Ruipeng Zhang, Lingjuan Lyu, Ya Zhang, Yanfeng Wang: Federated Learning with Bilateral
Curation for Partially Class-Disjoint Data. NeurIPS 2023. The plain simplex is the generic classifier. A client trains
with, and is tested by, row c times C n_kc / n_k: classes that it lacks take no room among its features. Differences
from the official code: features of unit length where the code normalises over a batch (the paper bounds their length),
one linear projection where it has two layers, no clipping of gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.etf import EtfHead
from fedlt.nn.net import Net
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedGELA(Strategy):
    """Model: `backbone`, `head.projection` (shared), `head.prototypes` and `head.scale` (fixed, never sent)."""

    needs: ClassVar[tuple[str, ...]] = ("linear_head", "single_label")
    frozen: ClassVar[tuple[str, ...]] = ("head.prototypes", "head.scale")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    temperature: Annotated[float, "> 0"] = 1.0  # the code's, 0.2, goes with features that are not of unit length
    dim: Annotated[int, ">= 2"] | None = None  # of the simplex's space; null: the larger of classes and features

    def build(self, model: Net, task: Task) -> None:
        dim = self.dim or max(task.num_classes, model.feature_dim)
        model.head = EtfHead(model.feature_dim, task.num_classes, dim, 1 / self.temperature)

    def loss(self, client: Client, batch: Batch) -> Tensor:
        return cross_entropy(client.model(batch.x) * _ratio(client), batch.y)

    def personal(self, client: Client, x: Tensor) -> dict[str, Tensor]:
        """The rows scaled by the client's frequencies are the headline."""
        generic = client.model(x)
        return {"scaled": generic * _ratio(client), "generic": generic}


def _ratio(client: Client) -> Tensor:
    """[C] the client's class frequencies over those of a balanced client."""
    return client.class_counts * (client.task.num_classes / client.num_samples)
