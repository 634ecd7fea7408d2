"""FedBB: every class is told from the rest by a balanced binary loss, and clients of evenly spread classes count more.

Chung, Lee: Multi-Level Analyzation of Imbalance to Resolve Non-IID-Ness in Federated Learning. 2026 (arXiv 2606.10250).
Only its abstract was at hand, and no code is known: **all formulas here are derived**, and are not the paper's own. It
says that imbalance is met at three levels: between the samples that have a class and those that have not, between
classes, both by weights in the local loss for what is rare, and between clients, by more weight at the server for less
skewed ones. Here a class's positive samples weigh by its share of negative ones and the reverse, classes by their
effective numbers, and a client's weight falls with the distance of its class shares from equal ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import effective_weights
from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy


@dataclass(frozen=True)
class FedBB(Strategy):
    """Mean over samples of the sum over classes of e_c BCE, with n_-/n for positives and n_+/n for negatives."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)
    learner_parts: ClassVar[tuple[str, ...]] = ()

    beta: Annotated[float, ">= 0", "< 1"] = 0.99  # of the effective numbers e_c; 0 weighs all classes alike
    skew: Annotated[float, ">= 0"] = 1.0  # how much a client's skew lowers its weight; 0: samples alone count

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """Binary cross-entropy of each class, balanced within the client, with effective numbers of samples over
        classes.
        """
        logits = client.model(batch.x).float()
        positive = F.one_hot(batch.y, logits.shape[1]).to(logits)
        share = client.class_counts / client.class_counts.sum()
        weight = positive * (1 - share) + (1 - positive) * share
        losses = F.binary_cross_entropy_with_logits(logits, positive, weight, reduction="none")
        return (losses * effective_weights(client.class_counts, self.beta)).sum(1).mean()

    def weight(self, client: Client) -> float:
        share = client.class_counts / client.class_counts.sum()
        distance = float((share - 1 / len(share)).abs().sum()) / 2
        return client.num_samples * math.exp(-self.skew * distance)
