"""pFedFDA: the head is the rule that Gaussian class features imply, and each client adapts these Gaussians to its own.

Mclaughlin, Su: Personalized Federated Learning via Feature Distribution Adaptation. NeurIPS 2024. Class means and one
covariance of the features are estimated instead of a head being trained. The body is trained beneath the received ones;
then a client mixes them with its own by a share that is best in a two-fold test on its training data, and sends the
mixture. As in the official code its own covariance has the identity added (`ridge`), where 1e-4 of it was surely meant.
Differences from the code: features are those of the trained body in evaluation mode, there of all local epochs; there
is one share, found by golden section; 1e-4 is not added off the diagonal; a client of one sample takes the received
Gaussians; and no round has all clients at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.data.task import Task
from fedlt.nn.net import Net
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Strategy

GOLDEN = (5**0.5 - 1) / 2
SHRINKING = 1e-4  # of a covariance towards its mean variance
ROUNDING = 1e-4  # added to the class shares, so that a class that the client lacks has a logarithm


class GaussianHead(nn.Module):
    """The logits of classes that are Gaussian with one covariance.

    Not trained.

    Attributes:
        means: [C, D].
        covariance: [D, D].
    """

    means: Tensor
    covariance: Tensor

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.rand(classes, dim))
        self.register_buffer("covariance", torch.eye(dim))

    def forward(self, features: Tensor) -> Tensor:
        """[B, C] with equal class shares."""
        return F.linear(features, *rule(self.means, self.covariance))


@dataclass(frozen=True)
class PFedFDA(Strategy):
    """means, covariance <- share * the client's own + (1 - share) * the received ones; the server averages them."""

    needs: ClassVar[tuple[str, ...]] = ("prototypes", "linear_head", "single_label")
    learner_parts: ClassVar[tuple[str, ...]] = ()

    ridge: Annotated[float, ">= 0"] = 1.0  # times the identity, added to a client's own covariance
    trials: Annotated[int, ">= 1"] = 10  # of the golden section for the share

    def build(self, model: Net, task: Task) -> None:
        model.head = GaussianHead(task.num_classes, model.feature_dim)

    def fit(self, client: Client) -> None:
        """Train the backbone under the Gaussian head of the received means and covariance, then re-estimate these."""
        head = client.model.head
        assert isinstance(head, GaussianHead)
        with one_thread():
            weight, bias = rule(head.means, head.covariance, shares(client))

        def loss(client: Client, batch: Batch) -> Tensor:
            return F.cross_entropy(F.linear(client.model.encode(batch.x), weight, bias), batch.y)

        client.train(loss)
        self.adapt(client)

    def adapt(self, client: Client) -> None:
        """Put the mixture in place of the received Gaussians."""
        head = client.model.head
        assert isinstance(head, GaussianHead)
        received = head.means.clone(), head.covariance.clone()
        with torch.no_grad(), one_thread():
            features = client.features().float()
            share = self.share(client, features, received)
            own = estimate(features, client.data.y, *received, self.ridge)
            head.means.copy_(torch.lerp(received[0], own[0], share))
            head.covariance.copy_(torch.lerp(received[1], own[1], share))

    def share(self, client: Client, features: Tensor, received: tuple[Tensor, Tensor]) -> float:
        """That of the client's own Gaussians, by the loss of each half of its samples under the other half's.

        Args:
            features: [n, D] of its training samples.
            received: means [C, D] and covariance [D, D].
        """
        y = client.data.y
        order = torch.from_numpy(client.rng.permutation(len(y))).to(y.device)
        order = order[y[order].argsort(stable=True)]  # class by class, so that each half has half of a class
        halves = order[::2], order[1::2]
        pairs = [(estimate(features[a], y[a], *received, self.ridge), b) for a, b in (halves, halves[::-1])]
        prior = shares(client)

        def loss(share: float) -> float:
            total = features.new_zeros(())
            for (means, covariance), rows in pairs:
                mixed = torch.lerp(received[0], means, share), torch.lerp(received[1], covariance, share)
                logits = F.linear(features[rows], *rule(*mixed, prior))
                total += F.cross_entropy(logits, y[rows], reduction="sum")
            return float(total)

        return smallest(loss, self.trials)

    def personal(self, client: Client, x: Tensor) -> Tensor:
        """With the client's own class shares."""
        head = client.model.head
        assert isinstance(head, GaussianHead)
        return F.linear(client.model.encode(x), *rule(head.means, head.covariance, shares(client)))


def shares(client: Client) -> Tensor:
    """[C] of its classes, those that it lacks having a little."""
    smoothed = client.class_counts / client.num_samples + ROUNDING
    return smoothed / smoothed.sum()


def rule(means: Tensor, covariance: Tensor, prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weight [C, D] and bias [C] of the best linear rule: S^-1 m_c and log prior_c - m_c' S^-1 m_c / 2.

    Args:
        means: [C, D].
        covariance: [D, D], of all classes.
        prior: [C] class shares; None: equal ones.
    """
    dim = len(covariance)
    identity = torch.eye(dim, device=covariance.device)
    shrunk = (1 - SHRINKING) * covariance + SHRINKING * covariance.trace() / dim * identity
    weight = torch.linalg.solve(shrunk, means.T).T
    bias = -(weight * means).sum(1) / 2
    return weight, bias if prior is None else bias + prior.log()


def estimate(features: Tensor, y: Tensor, means: Tensor, covariance: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Means [C, D] and covariance [D, D] of features [n, D]; those given for a class, or all, without samples to tell.

    The covariance is the scatter about the class means over n - 1, with `ridge` times the identity.

    Args:
        features: [n, D].
        y: [n] their classes.
        means, covariance: those given, [C, D] and [D, D].
        ridge: what is added to each variance.
    """
    onehot = F.one_hot(y, len(means)).float()
    counts = onehot.sum(0)
    own = torch.where(counts[:, None] > 0, onehot.T @ features / counts.clamp(min=1)[:, None], means)
    if len(y) < 2:
        return own, covariance
    away = features - own[y]
    return own, away.T @ away / (len(y) - 1) + ridge * torch.eye(len(covariance), device=covariance.device)


def smallest(of: Callable[[float], float], trials: int) -> float:
    """Where in [0, 1] a function with one valley is smallest, by golden section; the ends are tried as well."""
    low, high = 0.0, 1.0
    a, b = high - GOLDEN, GOLDEN
    at = {x: of(x) for x in (low, high, a, b)}

    # Golden section: one of the two inner points stays, and one is new.
    for _ in range(trials):
        if at[a] <= at[b]:
            high, b = b, a
            a = high - GOLDEN * (high - low)
            at[a] = of(a)
        else:
            low, a = a, b
            b = low + GOLDEN * (high - low)
            at[b] = of(b)

    return min(at, key=lambda x: at[x])
