"""RCAL: wrong labels under a long tail, repaired in representations that were learnt without labels.

Zhang, Zhao, Yao, Yuan, Huang: When Noisy Labels Meet Long Tail Dilemmas: A Representation Calibration Method. ICCV
2023. Contrast of two views first, labels after it: each observed class is a Gaussian of these representations, without
outliers and for rare classes informed by frequent ones, from which the classes are filled up to equal size; and while
all is trained with mixup, a sample's representation is held near the one that contrast gave it. No code is public.
Differs from the paper: contrast has the batch's other samples as rivals (there, MoCo's queue and momentum encoder); the
covariances are blended with the weights of the means; a mixed sample is held near the mixture of its two samples'
representations; both stages share one budget of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.blocks.contrast import add_projection, contrastive, contrastive_stage, own_view, two_views
from fedlt.blocks.gaussians import calibrated, factors, robust_gaussians
from fedlt.blocks.mixing import mixup
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner, Stage
from fedlt.nn.net import Net

ANCHOR, MEAN, FACTOR = "rcal/anchor", "rcal/mean", "rcal/factor"  # state: [n, D], [C, D], [C, D, D]


@dataclass(frozen=True)
class RCAL(Learner):
    """Stages: contrastive (no labels), calibrated (mixup + points of the classes' Gaussians + pull to the anchors)."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    vectorizable: ClassVar[bool] = False

    pretrain: Annotated[float, "> 0", "< 1"] = 0.5  # share of the run's rounds without labels
    temperature: Annotated[float, "> 0"] = 0.2  # of the similarities
    projection: Annotated[int, ">= 1"] = 128  # dimensions in which samples are contrasted
    nearest: Annotated[int, ">= 1"] = 3  # frequent classes that inform a rare one
    share: Annotated[float, ">= 0", "<= 1"] = 0.1  # of theirs in a rare class's mean and covariance; 0: none
    ridge: Annotated[float, ">= 0"] = (
        0.2  # added to a rare class's variances, times the frequent classes' mean; 0: none
    )
    points: bool = True  # fill the classes up to equal size; false: only the samples there are
    pull: Annotated[float, ">= 0"] = 0.1  # weight of the squared distance to the representation of the first stage
    alpha: Annotated[float, "> 0"] = 1.0  # of mixup

    def build(self, model: Net, task: Task) -> None:
        add_projection(model, task, self.projection)

    def stages(self) -> tuple[Stage, ...]:
        return contrastive_stage(self.pretrain), Stage("calibrated", 1 - self.pretrain, ("backbone.*", "head.*"))

    def begin(self, site: Site) -> None:
        if site.stage.name == "calibrated" and ANCHOR not in site.state:
            anchors = site.features()
            found = robust_gaussians(anchors.cpu().numpy(), site.data.y.cpu().numpy(), len(site.class_counts))
            better = calibrated(found, self.nearest, self.share, self.ridge)
            means, roots = (torch.from_numpy(part).to(anchors) for part in (better.means, factors(better)))
            site.state |= {ANCHOR: anchors, MEAN: means, FACTOR: roots}

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name == "contrastive":
            z = two_views(site, batch)
            return contrastive(z, own_view(len(z), z.device), self.temperature).mean()
        mixed = mixup(batch, site.rng, self.alpha)
        features = site.model.encode(mixed.x)
        away = (features - mixed.blend(site.state[ANCHOR][batch.rows])).square().sum(1).mean()
        value = len(batch) * mixed.cross_entropy(site.model.head(features))
        x, y = self.drawn(site, len(batch))
        value = value + F.cross_entropy(site.model.head(x), y, reduction="sum")
        return value / (len(batch) + len(y)) + self.pull * away

    def drawn(self, site: Site, batch: int) -> tuple[Tensor, Tensor]:
        """[P, D] points and their classes [P]: with a batch of the site's samples they make all its classes equal."""
        counts = site.class_counts.cpu().numpy()
        missing = (counts > 0) * (counts.max() - counts) * self.points
        number, device = round(batch * missing.sum() / counts.sum()), site.state[MEAN].device
        shares = missing / missing.sum() if number else None
        y = torch.from_numpy(site.rng.choice(len(counts), number, p=shares)).to(device, non_blocking=True)
        draws = site.rng.standard_normal((number, site.model.feature_dim))
        noise = torch.from_numpy(draws).float().to(device, non_blocking=True)
        return site.state[MEAN][y] + (site.state[FACTOR][y] @ noise[:, :, None])[:, :, 0], y
