"""CCVR: after FedAvg, the head is re-trained on features drawn from Gaussians that all clients' statistics give.

Mi Luo, Fei Chen, Dapeng Hu, Yifan Zhang, Jian Liang, Jiashi Feng: No Fear of Heterogeneity: Classifier Calibration for
Federated Learning with Non-IID Data. NeurIPS 2021. In one exchange after the last round every client sends, of the
finished backbone's features, class counts, sums and sums of products; these add up to the mean and covariance of each
class over the whole federation, exactly. Equally many features are drawn of every class, so the re-trained head is
balanced. There is no official code; two re-implementations pool biased covariances by the weights of unbiased ones,
which is not done here. They descend with momentum .9 at a rate of 0.001: a tenth of `head_lr`, with steps as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.retrained_head import RetrainedHead
from fedlt.nn.softmax import head_of, regress
from fedlt.process.threads import one_thread
from fedlt.strategy import Client, Server, Update, combine


@dataclass(frozen=True)
class CCVR(RetrainedHead):
    """Training is FedAvg's. Before the end both variants are the averaged head."""

    variant: ClassVar[str] = "ccvr"
    needs: ClassVar[tuple[str, ...]] = (
        "class_counts", "prototypes", "feature_moments", "linear_head", "single_label",
    )  # fmt: skip
    learner_parts: ClassVar[tuple[str, ...]] = ("loss", "stages")

    covariance: Literal["full", "diagonal", "shared"] = "full"  # of each class, or one matrix within all classes
    features: Annotated[int, ">= 1"] = 2000  # drawn of each class
    head_epochs: Annotated[int, ">= 0"] = 10  # of re-training the averaged head on them
    head_lr: Annotated[float, "> 0"] = 0.01
    head_batch: Annotated[int, ">= 1"] = 64

    def conclude(self, client: Client) -> None:
        """Send sums of the final features by class: counts [C], sums [C, D] and products for the covariances."""
        features, classes = client.features().double(), client.task.num_classes
        of_class = F.one_hot(client.data.y, classes).to(features)
        if self.covariance == "full":
            own = (features[client.data.y == label] for label in range(classes))
            products = torch.stack([each.T @ each for each in own])
        else:
            diagonal = self.covariance == "diagonal"
            products = of_class.T @ features.square() if diagonal else (features.T @ features)[None]
        client.extras |= {"counts": of_class.sum(0), "sums": of_class.T @ features, "products": products}

    def concluded(self, server: Server, updates: Iterable[Update]) -> None:
        """Train the head again, on features drawn from the Gaussian of each class."""
        sums = combine(updates).sums
        means, covariances = moments(sums["counts"], sums["sums"], sums["products"])
        present = sums["counts"].nonzero().flatten()
        noise = torch.from_numpy(server.rng.standard_normal((len(present), self.features, means.shape[1]))).to(means)
        with one_thread():
            drawn = means[present, None] + noise @ roots(covariances[present])
            features, y = drawn.to(server.weights).flatten(0, 1), present.repeat_interleave(self.features)
            settings = self.head_epochs, self.head_lr, self.head_batch
            server.outbox["head"] = regress(features, y, head_of(server.model), server.rng, *settings)


def moments(counts: Tensor, sums: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """[C, D] means and [C, D, D] unbiased covariances; 0 for a class of one sample, or of none.

    Args:
        counts: [C].
        sums: [C, D].
        products: of features h, sums of h h' [C, D, D], of their diagonals [C, D], or of h h' over all classes [1, D,
            D], of which all classes then share the covariance.
    """
    n = counts[:, None]
    means = sums / n.clamp(min=1)

    if products.ndim == 2:
        return means, torch.diag_embed((products - n * means.square()) / (n - 1).clamp(min=1))

    if len(products) == 1:
        within = products - (n * means).T @ means
        return means, (within / (counts.sum() - (counts > 0).sum()).clamp(min=1)).expand(len(counts), -1, -1)

    scatter = products - n[..., None] * means[:, :, None] * means[:, None]
    return means, scatter / (n[..., None] - 1).clamp(min=1)


def roots(covariances: Tensor) -> Tensor:
    """[C, D, D] symmetric matrices whose squares are the covariances; directions of no variance stay without."""
    values, vectors = torch.linalg.eigh(covariances)
    return (vectors * values.clamp(min=0).sqrt()[:, None]) @ vectors.transpose(1, 2)
