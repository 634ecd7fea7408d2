"""DirMixE: SADE's experts, each trained for many class distributions around its own instead of for that one alone.

Yang, Xu, Wang, Li, Han, Bao, Cao, Huang: Harnessing Hierarchical Label Distribution Variations in Test Agnostic
Long-tail Recognition. ICML 2024. What classes will be frequent in tests is unknown: a distribution is drawn from a
mixture of three Dirichlet distributions, about the training shares, about equal ones, and about the training shares
turned round, and the expert of that component learns for it. Many draws a batch; in the end the draws with losses above
the mean weigh more. The mean of the experts' logits predicts; weighing them on test images is left out, as in `sade`.
Differs from the official code as `sade` does, and in that draws are new in each batch (there, from a pool that is drawn
once and shuffled).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.priors import log_prior, reversed_counts
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.learners.sade import EXPERTS
from fedlt.nn.cosine import CosineHead
from fedlt.nn.experts import add_experts, experts_of
from fedlt.nn.net import Net

SMALLEST = 1e-9  # added to a ratio of shares, as in the official code: a drawn share may be 0


@dataclass(frozen=True)
class DirMixE(Learner):
    """Mean over draws (k, q) of the cross-entropy of z_k - log((q / pi)^power), later plus their semi-variance."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    vectorizable: ClassVar[bool] = False

    draws: Annotated[int, ">= 1"] = 60  # class distributions a batch
    concentration: Annotated[float, "> 0"] = 10_000.0  # of the Dirichlet distributions: how near their centres
    power: Annotated[float, ">= 0"] = 1.3  # of the ratio of shares
    variance: Annotated[float, ">= 0"] = 1.0  # weight of the semi-variance; 0: the mean alone
    defer: Annotated[float, ">= 0", "<= 1"] = 0.8  # share of the run before the semi-variance
    scale: Annotated[float, "> 0"] = 30.0  # of the cosines

    def build(self, model: Net, task: Task) -> None:
        add_experts(model, EXPERTS, lambda dim: CosineHead(dim, task.num_classes, self.scale))

    def drawn(
        self, counts: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """[draws] experts, and [draws, C] the class shares that each is to learn for; those of absent classes are 0."""
        there = (counts > 0).astype(float)
        turned = reversed_counts(torch.from_numpy(counts)).numpy()
        centres = np.stack([counts / counts.sum(), there / there.sum(), turned / counts.sum()])
        experts = rng.integers(EXPERTS, size=self.draws)
        mass = rng.standard_gamma(self.concentration * centres[experts])  # normalised, it is Dirichlet's
        return experts, mass / mass.sum(1, keepdims=True)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        counts = site.class_counts
        experts, shares = self.drawn(counts.cpu().numpy(), site.rng)
        index, q = (torch.from_numpy(part).to(counts.device, non_blocking=True) for part in (experts, shares))
        prior = log_prior(counts)
        shift = torch.where(counts > 0, -((q.float() / prior.exp()) ** self.power + SMALLEST).log(), prior)

        each = experts_of(site.model).each(site.model.encode(batch.x))
        shifted = each[index] + shift[:, None]  # [draws, B, C]
        y = batch.y.expand(self.draws, -1)
        losses = F.cross_entropy(shifted.transpose(1, 2), y, reduction="none").mean(1)
        late = self.variance * semi_variance(losses) if site.now >= self.defer else 0.0
        return losses.mean() + late


def semi_variance(losses: Tensor) -> Tensor:
    """Sum of the squares by which losses exceed their mean, over the number of those that do less one."""
    above = (losses - losses.mean()).clamp(min=0)
    return above.square().sum() / ((above > 0).sum() - 1).clamp(min=1)
