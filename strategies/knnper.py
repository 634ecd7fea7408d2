"""kNN-Per: the generic model's prediction is mixed with the vote of the client's own samples that look most alike.

Marfoq, Neglia, Kameni, Vidal: Personalized Federated Learning through Local Memorization. ICML 2022, equations 8 and
9. Neighbours are found in the generic model's features and vote with weight exp(-squared distance / (scale * D)), as in
the official code. Differences: one mixing weight for all clients, where the paper chooses each client's on held-out
data; neighbours are exact (the code's are approximate), and all of a client's samples are in its store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fedlt.learner import headline
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class KNNPer(Strategy):
    """FedAvg; p_personal = mix * p_neighbours + (1 - mix) * p_generic. Nothing more than FedAvg's is sent."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")

    neighbours: Annotated[int, ">= 1"] = 10  # k; a client with fewer samples asks all of them
    mix: Annotated[float, ">= 0", "<= 1"] = 0.5  # weight of the neighbours; 0 is FedAvg
    scale: Annotated[float, "> 0"] = 1.0  # of the squared distances

    def adapt(self, client: Client) -> None:
        """The store is made anew for each evaluation, since it holds features of the generic model."""
        client.state["store"] = torch.cat(client.scan(lambda batch: client.model.encode(batch.x)))

    def personal(self, client: Client, x: Tensor) -> Tensor:
        """[B, C] logarithms of the mixed probabilities."""
        generic = headline(super().personal(client, x)).softmax(1)
        neighbours = self.vote(client, client.model.encode(x), client.state["store"])
        return (self.mix * neighbours + (1 - self.mix) * generic).log()

    def vote(self, client: Client, features: Tensor, store: Tensor) -> Tensor:
        """[B, C] shares of the neighbours' weight, by class; distances count from the nearest, which cancels out.

        Args:
            features: [B, D] of the samples to predict.
            store: [n, D] of the client's own ones.
        """
        # PyTorch chooses by the size of the batch, which a traced graph must not depend on.
        way = "use_mm_for_euclid_dist" + ("" if torch.compiler.is_exporting() else "_if_necessary")
        distances = torch.cdist(features, store, compute_mode=way).square()
        near, index = distances.topk(min(self.neighbours, len(store)), largest=False)
        weights = (-near / (self.scale * store.shape[1])).softmax(1)
        return (weights[..., None] * one_hot(client.data.y, client.task.num_classes)[index]).sum(1)
