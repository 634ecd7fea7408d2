"""FedReLa: late in training, each client gives samples of frequent classes that look like a rare one its label.

Guangzheng Hu, Patricia Menéndez, Feng Liu, Mingming Gong, Guanghui Wang, Liuhua Peng: FedReLa: Imbalanced Federated
Learning via Re-Labeling. ICML 2026 (arXiv 2606.26037). Around any strategy with a generic model; nothing more travels,
and nobody knows the federation's class counts. Differences from the official code: the posterior is the headline of
the generic model that the client received, in evaluation mode (the code keeps batch normalisation in training mode, and
under FedLoGe asks the fixed simplex); nothing is stopped by accuracy on the test set. As in the code the posterior is a
mean over augmented views, and the learning rate falls to a tenth; the paper has neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fedlt.data.task import Task
from fedlt.learner import headline
from fedlt.nn.net import Net
from fedlt.strategy import Client
from fedlt.wrapping import Wrapping

LABELS = "fedrela/labels"


@dataclass(frozen=True)
class FedReLa(Wrapping):
    """A client changes its labels once. Its class counts, and its part of the mean, stay those of the given labels."""

    needs: ClassVar[tuple[str, ...]] = ("single_label",)

    start: Annotated[float, ">= 0", "<= 1"] = 0.9  # share of the run before labels change; 1: never
    share: Annotated[float, "> 0", "< 1"] = 0.05  # of a client's samples that may become each class
    passes: Annotated[int, ">= 1"] = 5  # augmented views that the posterior is averaged over
    lr_factor: Annotated[float, "> 0"] = 0.1  # of the learning rate from `start` on

    def obstacle(self, model: Net, task: Task) -> str | None:
        if self.scope != "federated":
            return "FedReLa asks the generic model that clients receive, and there is none"
        return super().obstacle(model, task)

    def fit(self, client: Client) -> None:
        """Plain local work at first; then samples of frequent classes that look like a rare one have its label."""
        if client.progress < self.start:
            super().fit(client)
            return
        if LABELS not in client.state:  # one that was not sampled at the start does it later
            draws = torch.from_numpy(client.rng.random((client.num_samples, client.task.num_classes)))
            chances = transfer(self.posterior(client), client.data.y, self.share)
            client.state[LABELS] = relabelled(client.data.y, chances, draws.to(chances))
        given = client.data
        client.data, client.lr_factor = given.labelled(client.state[LABELS]), self.lr_factor
        super().fit(client)
        client.data, client.lr_factor = given, 1.0

    def posterior(self, client: Client) -> Tensor:
        """[n, C] probabilities of the received generic model, averaged over views of each sample."""
        views = [
            torch.cat(client.scan(lambda batch: headline(self.generic_at(client, batch.x)), augmented=True))
            for _ in range(self.passes)
        ]
        return torch.stack(views).softmax(-1).mean(0)


def transfer(posterior: Tensor, y: Tensor, share: float) -> Tensor:
    """[n, C] the chance of each sample to become a sample of each class; 0 unless that class is rarer.

    A sample qualifies for a class whose probability is unusually large among those of its own class: it must be beyond
    `share` of all samples.

    Args:
        posterior: [n, C].
        y: [n].
    """
    counts = torch.bincount(y, minlength=posterior.shape[1]).to(posterior)
    rarity = 1 - (counts - counts.min()) / (counts.max() - counts.min()).clamp(min=1)
    score = torch.zeros_like(posterior)
    for label in y.unique():
        own = posterior[y == label]
        score[y == label] = (own - own.mean(0)) / own.std(0, correction=0).clamp(min=1e-6)
    threshold = score.sort(0).values[len(y) - 1 - int(share * len(y) + 1e-9)]
    return (score - threshold).tanh() * (rarity - rarity[y, None]).clamp(min=0)


def relabelled(y: Tensor, chances: Tensor, draws: Tensor) -> Tensor:
    """[n] the labels after a draw: of the classes whose chance is above it, the likeliest; else as they were.

    Args:
        y: [n] labels.
        chances: [n, C] that a sample gets the label of a class.
        draws: [n, C] uniform in [0, 1).
    """
    best, label = chances.where(chances > draws, torch.zeros_like(chances)).max(1)
    return label.where(best > 0, y)
