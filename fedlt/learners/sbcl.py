"""SBCL: contrastive learning draws together subclasses of equal size instead of classes, then a head is trained.

Hou, Zhang, Wang, Zhou: Subclass-balancing Contrastive Learning for Long-tailed Recognition. ICCV 2023. A frequent
class is cut into clusters as large as a rare class, so that its samples do not crowd the sphere; samples of one class
in different clusters are drawn together more weakly, and more weakly still where the class is wide. Supervised
contrast (Khosla and others, 2020) comes first, and is all there is with `warmup=1`. The head is LDAM-DRW's, on frozen
features. Differs from the official code: both stages share one budget of rounds, projections are as wide as
`projection` says, clustering goes by the rounds in which the site trains, on samples without augmentation (there,
augmented ones: `clusters=augmented`), and the head is trained without augmentation. As in the code the warm-up's
contrast has weight one, not T / 0.07.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from fedlt.blocks.clusters import subclasses
from fedlt.blocks.contrast import add_projection, alike, contrastive, contrastive_stage, own_view, projected, two_views
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Stage
from fedlt.learners.ldam import LDAM
from fedlt.nn.net import Net

SUBCLASS, HEAT, ROUND = "sbcl/subclass", "sbcl/heat", "sbcl/round"  # state: [n], [C] temperatures, when they were found
BASE = 0.07  # temperature at which the loss of the subclasses has weight one, as in the official code

NARROWEST = 0.1  # relative width of a class: one that has fallen onto a point would have temperature zero


@dataclass(frozen=True)
class SBCL(LDAM):
    """Stages: contrastive (backbone and projection, two views), classifier (cosine head by LDAM-DRW)."""

    vectorizable: ClassVar[bool] = False
    young: ClassVar[tuple[str, ...]] = ("clusters",)

    pretrain: Annotated[float, "> 0", "< 1"] = 0.8  # share of the run's rounds that is contrastive
    warmup: Annotated[float, ">= 0", "<= 1"] = 0.05  # share of these rounds that draws whole classes together; 1: all
    every: Annotated[int, ">= 1"] = 10  # rounds from one clustering to the next
    least: Annotated[int, ">= 1"] = 10  # samples of a subclass, where no class is that small
    temperature: Annotated[float, "> 0"] = 0.1  # of the similarities
    gamma: Annotated[float, ">= 0"] = 0.25  # weight of what draws the subclasses of a class together
    projection: Annotated[int, ">= 1"] = 128  # dimensions in which samples are contrasted
    clusters: Literal["plain", "augmented"] = "plain"  # samples that are clustered; augmented: as in the official code

    def build(self, model: Net, task: Task) -> None:
        super().build(model, task)
        add_projection(model, task, self.projection)

    def stages(self) -> tuple[Stage, ...]:
        return contrastive_stage(self.pretrain), Stage("classifier", 1 - self.pretrain, ("head.*",), encoded=True)

    def begin(self, site: Site) -> None:
        if site.stage.name != "contrastive" or site.stage_progress < self.warmup:
            return
        now = round(site.progress / site.span)
        if ROUND in site.state and now - int(site.state[ROUND]) < self.every:
            return

        if self.clusters == "augmented":
            site.generator = site.trainer.generator(site)
            z = torch.cat(site.scan(lambda batch: projected(site.model, site.trainer.batch(site, batch.rows).x)))
        else:
            z = torch.cat(site.scan(lambda batch: projected(site.model, batch.x)))

        found = torch.from_numpy(subclasses(z.cpu().numpy(), site.data.y.cpu().numpy(), self.least, site.rng)).to(
            z.device
        )
        split = torch.tensor([len(found[site.data.y == c].unique()) > 1 for c in range(len(site.class_counts))])
        heat = torch.where(
            split.to(z.device), self.temperature * width(z, site.data.y, site.class_counts), self.temperature
        )
        site.state |= {SUBCLASS: found, HEAT: heat, ROUND: torch.tensor(now)}

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name == "classifier":
            return super().loss(site, batch)
        z, y = two_views(site, batch), batch.y.repeat(2)
        part = site.state[SUBCLASS][batch.rows].repeat(2) if SUBCLASS in site.state else y
        near = alike(part)
        value = contrastive(z, near, self.temperature)
        if SUBCLASS in site.state:
            own = own_view(len(z), z.device)
            siblings = contrastive(z, alike(y) & ~near | own, site.state[HEAT][y], ~near | own)
            value = self.temperature / BASE * value + self.gamma * siblings
        return value.mean()


def width(z: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    """[C] how wide each class lies, relative to the others: mean distance to its centre / log(n_c + 10), clipped to
    the middle 60 % of the classes and divided by the mean. 1 for an absent class, and at least `NARROWEST`.
    """
    there = counts > 0
    centres = torch.zeros(len(counts), z.shape[1], device=z.device).index_add_(0, y, z) / counts.clamp(min=1)[:, None]
    distance = torch.zeros(len(counts), device=z.device).index_add_(0, y, (z - centres[y]).norm(dim=1))
    phi = (distance / counts.clamp(min=1) / (counts + 10.0).log())[there]
    phi = phi.clamp(*(float(torch.quantile(phi, share)) for share in (0.2, 0.8)))
    relative = (phi / phi.mean().clamp(min=1e-12)).clamp(min=NARROWEST)
    return torch.ones(len(counts), device=z.device).masked_scatter(there, relative)
