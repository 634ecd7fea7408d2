"""FedCGNM: steps along the sum of unit momenta, one of each group of classes that are about equally frequent.

Park, Klabjan, Braun, Li, Ananthanarayanan: Class-Grouped Normalized Momentum and Faster Hyperparameter Exploration to
Tackle Class Imbalance in Federated Learning. ICML 2026. Groups of rare classes so move the model as much as those of
frequent ones. There is no public code. From the paper's abstract and reviews: few groups of least variance within, a
momentum each, unit lengths, their sum; two groups. Derived here: groups part a client's own classes by its own counts,
by least squares; a group's gradient is that of the mean loss of its samples in the batch, a batch without any leaves
its momentum alone; momenta start anew in each round, with 0.9. Resampling rates are those of
`fedhoo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.strategy import Client, Strategy

TINY = 1e-12  # added to a momentum's length


@dataclass(frozen=True)
class FedCGNM(Strategy):
    """m_g <- beta m_g + (1 - beta) gradient of group g; w <- w - lr sum over groups of m_g / |m_g|."""

    needs: ClassVar[tuple[str, ...]] = ("sgd", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    groups: Annotated[int, ">= 1"] = 2  # of classes, as far as a client has as many; 1 is normalised momentum
    beta: Annotated[float, ">= 0", "< 1"] = 0.9  # of the momenta; 0: the gradients themselves (the paper's FedCGN)

    def fit(self, client: Client) -> None:
        """Local work along the sum of unit momenta, one for each group of classes of like frequency."""
        member = torch.from_numpy(grouped(client.class_counts.cpu().numpy(), self.groups)).to(client.start.device)
        momenta: dict[int, list[Tensor]] = {}

        def loss(client: Client, batch: Batch) -> Tensor:
            """Its gradient is the sum of the unit momenta, and its value the mean cross-entropy."""
            weights = list(client.shared_parameters().values())
            losses = F.cross_entropy(client.model(batch.x), batch.y, reduction="none")
            present = member[batch.y].unique().tolist()
            client.trainer.passed((len(present) - 1) * len(batch))

            for group in present:
                value = losses[member[batch.y] == group].mean()
                given = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
                slopes = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, given, strict=True)]
                former = momenta.get(group, [torch.zeros_like(slope) for slope in slopes])
                momenta[group] = [self.beta * m + (1 - self.beta) * g for m, g in zip(former, slopes, strict=True)]

            steps = direction(list(momenta.values()))
            product = torch.stack([(w * step).sum() for w, step in zip(weights, steps, strict=True)]).sum()
            return losses.mean().detach() + product - product.detach()

        client.train(loss)


def direction(momenta: list[list[Tensor]]) -> list[Tensor]:
    """The sum of momenta, each a list of tensors whose common length is made one."""
    total = [torch.zeros_like(part) for part in momenta[0]]
    for momentum in momenta:
        length = torch.stack([part.norm() for part in momentum]).norm() + TINY
        total = [whole + part / length for whole, part in zip(total, momentum, strict=True)]
    return total


def grouped(counts: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """[C] the group of each class, 0 having the most frequent ones; absent classes are in the last.

    Sorted counts are cut where the sum of squares about the groups' means is smallest.
    """
    there = np.flatnonzero(counts)
    order = there[np.argsort(-counts[there], kind="stable")]
    values = counts[order].astype(np.float64)
    groups = min(groups, len(values))

    n, sums, squares = len(values), np.r_[0, values.cumsum()], np.r_[0, (values**2).cumsum()]
    width = np.maximum(np.arange(n + 1)[None] - np.arange(n + 1)[:, None], 1)
    within = squares[None] - squares[:, None] - (sums[None] - sums[:, None]) ** 2 / width  # of values[i:j]
    within[np.tri(n + 1, dtype=bool)] = np.inf

    best, cuts = within[0], []
    for _ in range(groups - 1):  # best[j]: of the first j values in one group more
        costs = best[:, None] + within
        cuts.append(costs.argmin(0))
        best = costs.min(0)

    group_of, end = np.full(len(counts), groups - 1), n
    for group in range(groups - 1, 0, -1):
        start = int(cuts[group - 1][end])
        group_of[order[start:end]] = group
        end = start
    group_of[order[:end]] = 0
    return group_of
