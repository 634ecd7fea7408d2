"""FedPAC: features are drawn to common prototypes, and each client has the mixture of heads that suits it best.

Jian Xu, Xinyi Tong, Shao-Lun Huang: Personalized Federated Learning with Feature Alignment and Classifier
Collaboration. ICLR 2023. A client trains its head first, then the body beneath it. The shares of a mixture minimise an
estimate of its head's error at the client: a bias, by which the class features of others differ, and a variance, larger
where a client has few samples. As in the official code these statistics are of the received body, before training.
Differences from the code: features for them and for prototypes are taken in evaluation mode and without augmentation;
shares below 0.001 are kept. A client that is not sampled keeps the mixture that it has, and one that never was has the
mean of the heads, which is the generic model's head and which the code has no use for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Strategy, Update, combine

STEPS, CLOSE = 1000, 1e-7
"""Of the projected gradient: most steps, and the change of a share from which on it ends."""

TINY = 1e-12  # least curvature, for clients that do not differ at all


@dataclass(frozen=True)
class FedPAC(Strategy):
    """CE + pull |f - prototype of y|^2 / D. Head of k: sum a_j head_j, where |h_k - sum a_j h_j|^2 + a'Va is least."""

    needs: ClassVar[tuple[str, ...]] = ("prototypes", "class_counts", "head", "single_label")
    foldable: ClassVar[bool] = False  # heads are mixed one by one
    learner_parts: ClassVar[tuple[str, ...]] = ()

    pull: Annotated[float, ">= 0"] = 1.0  # of features to their class's prototype, from the second round on
    head_epochs: Annotated[int, ">= 0"] = 1  # passes that train the head, before local.epochs passes train the body
    head_lr: Annotated[float, "> 0"] = 0.1

    def setup(self, server: Server) -> None:
        size = server.task.num_classes, server.model.feature_dim
        server.outbox["prototypes"] = torch.zeros(size, device=server.weights.device)
        server.outbox["known"] = torch.zeros(size[:1], device=server.weights.device)

    def fit(self, client: Client) -> None:
        """Train the head, take statistics of the received body, then train the body towards the prototypes."""
        self.adapt(client)
        features = client.features()
        means = class_means(features, client)
        of_class, variance = statistics(features, means, client.class_counts)
        known = client.received["known"] > 0
        goals = torch.where(known[:, None], client.received["prototypes"], means)

        def loss(client: Client, batch: Batch) -> Tensor:
            features = client.model.encode(batch.x)
            loss = F.cross_entropy(client.model.head(features), batch.y)
            return loss + self.pull * F.mse_loss(features, goals[batch.y]) if known.any() and self.pull else loss

        if self.head_epochs:
            client.train(self.loss, only=("head.*",), epochs=self.head_epochs, lr=self.head_lr)
        client.train(loss, without=("head.*",))

        counts = client.class_counts.float()
        client.extras |= {"sums": counts[:, None] * class_means(client.features(), client), "counts": counts}
        client.extras |= {"of_class": of_class, "variance": variance}

    def adapt(self, client: Client) -> None:
        """The received body beneath the client's mixture of heads."""
        with torch.no_grad():
            for name, parameter in client.shared_parameters().items():
                if name in client.received:
                    parameter.copy_(client.received[name])

    def aggregate(self, server: Server, updates: Iterable[Update]) -> None:
        """The mean backbone, the prototypes, and for each client the mixture of heads that suits it best."""
        cohort = list(updates)
        whole = combine(cohort)
        heads: list[dict[str, Tensor]] = []
        for update in cohort:
            server.weights = update.mean
            heads.append({f"head.{name}": part.detach().clone() for name, part in server.model.head.named_parameters()})
        server.weights = whole.mean

        there = whole.sums["counts"] > 0
        means = whole.sums["sums"] / whole.sums["counts"].clamp(min=1)[:, None]
        server.outbox["prototypes"] = torch.where(there[:, None], means, server.outbox["prototypes"])
        server.outbox["known"] = torch.maximum(server.outbox["known"], there.float())

        of_class = torch.stack([update.sums["of_class"].flatten() for update in cohort])
        variance = torch.stack([update.sums["variance"] for update in cohort])
        with one_thread():
            shares = mixtures(of_class, variance).to(server.weights)
            stacked = {name: torch.stack([head[name] for head in heads]) for name in heads[0]}
            for update, share in zip(cohort, shares, strict=True):
                mixed = {name: torch.tensordot(share, own, 1) for name, own in stacked.items()}
                server.letters[update.clients[0]] = mixed


def class_means(features: Tensor, client: Client) -> Tensor:
    """[C, D] of the client's features [n, D]; zero for a class that it lacks."""
    onehot = F.one_hot(client.data.y, client.task.num_classes).to(features)
    return onehot.T @ features / client.class_counts.clamp(min=1)[:, None]


def statistics(features: Tensor, means: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """h [C, D], class means times class shares, and V, the variance of the mean of onehot(y) f' over n samples.

    Args:
        features: [n, D].
        means: [C, D] of the classes.
        counts: [C] samples.
    """
    of_class = counts[:, None] / len(features) * means
    spread = features.square().sum() / len(features) - of_class.square().sum()
    return of_class, (spread / len(features)).clamp(min=0)


def mixtures(of_class: Tensor, variance: Tensor) -> Tensor:
    """[n, n] for each client the shares a of all heads, which sum to 1: |h_k - sum a_j h_j|^2 + sum a_j^2 V_j is least.

    By projected gradients with Nesterov's momentum.

    Args:
        of_class: [n, C D] the h of each client.
        variance: [n].
    """
    h = of_class.double() - of_class.double().mean(0)  # equal for all, which changes no difference
    products = h @ h.T
    curved = products + torch.diag(variance.double())
    step = 1 / torch.linalg.eigvalsh(curved)[-1].clamp(min=TINY)

    shares = torch.full_like(products, 1 / len(products))
    ahead, speed = shares, 1.0
    for _ in range(STEPS):
        last, shares = shares, on_simplex(ahead - step * (ahead @ curved - products))
        if (shares - last).abs().max() < CLOSE:
            break
        faster = (1 + (1 + 4 * speed**2) ** 0.5) / 2
        ahead, speed = shares + (speed - 1) / faster * (shares - last), faster
    return shares


def on_simplex(points: Tensor) -> Tensor:
    """[n, m] the nearest points whose coordinates are not negative and sum to 1."""
    ordered = points.sort(1, descending=True).values
    over = (ordered.cumsum(1) - 1) / torch.arange(1, points.shape[1] + 1, device=points.device)
    last = (ordered > over).sum(1, keepdim=True) - 1
    return (points - over.gather(1, last)).clamp(min=0)
