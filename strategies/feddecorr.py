"""FedDecorr: a penalty on the correlations between a client's features keeps them from collapsing into few directions.

Shi, Liang, Zhang, Tan, Bai: Towards Understanding and Mitigating Dimensional Collapse in Heterogeneous Federated
Learning. ICLR 2023. The penalty is that of the official code: features standardised within the batch, the squared sums
of their products over the batch of B samples, averaged over pairs of different features and divided by B. That is about
B times the mean squared correlation, so that what a `beta` does follows the batch size. As there, a batch of one sample
has no penalty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy

SMALLEST_VARIANCE = 1e-8  # added to a feature's variance, which is 0 for one that the batch never turns on


@dataclass(frozen=True)
class FedDecorr(Strategy):
    """The task's usual loss + beta * mean over i != j of (sum over the batch of h_i h_j)^2 / B, h standardised."""

    needs: ClassVar[tuple[str, ...]] = ("head",)
    learner_parts: ClassVar[tuple[str, ...]] = ()

    beta: Annotated[float, ">= 0"] = 0.1  # weight of the penalty; 0 is FedAvg

    def loss(self, client: Client, batch: Batch) -> Tensor:
        """The loss plus `beta` times the Frobenius norm of the features' correlation; a single sample has none."""
        features = client.model.encode(batch.x)
        value = client.task.target.loss(client.model.head(features), batch.y)
        if not self.beta or len(batch) < 2:
            return value
        return value + self.beta * correlation(features.float())


def correlation(features: Tensor) -> Tensor:
    """The penalty of features [B, D], B being at least 2."""
    size, dim = features.shape
    centred = features - features.mean(0)
    standard = centred / (features.var(0) + SMALLEST_VARIANCE).sqrt()
    products = standard.T @ standard
    off_diagonal = products.square().sum() - products.diagonal().square().sum()
    return off_diagonal / (dim * max(dim - 1, 1)) / size
