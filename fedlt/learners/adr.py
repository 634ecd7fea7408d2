"""ADR, adaptive data refinement: of what is frequent in every respect most samples are left out, what is scarce stays.

Song, Qu, Zhou, Cheng: From Head to Tail: Towards Balanced Representation in Large Vision-Language Models through
Adaptive Data Calibration. CVPR 2025. Samples are counted by entities of several kinds, and a sample is kept with the
larger a chance the rarer its entities are; then scarce samples get new ones beside them. Differs from the official
code: entities are labels, pairs of them, parents, tokens and groups (there, tokens, objects, their pairs and kinds of
questions), thresholds may be scaled to a share of the samples that is to be kept, and new samples lie between two of a
class (there, from a diffusion model and a language model); `synthesised` is the hook for others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlt.blocks.entities import Kind, calibrated, entities, expect_entities, grouped, medians
from fedlt.data.samplers import followed
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.errors import Problem, ScenarioError
from fedlt.learner import Stage
from fedlt.learners.cross_entropy import CrossEntropy
from fedlt.nn.net import Net

KEPT, NEW = "adr/kept", "adr/new"  # state: bool [n] which samples are used; [n] chance that one stands for a new one


@dataclass(frozen=True)
class ADR(CrossEntropy):
    """Cross-entropy on the samples of a site that are kept, and on new ones like the scarce among them."""

    vectorizable: ClassVar[bool] = False

    entities: list[Kind] = field(default_factory=list)  # kinds counted: label, pair, parent, token; empty: label
    columns: list[str] = field(default_factory=list)  # group columns whose values are counted too, such as a site
    thresholds: list[Annotated[float, "> 0"]] = field(default_factory=list)  # of kinds, then columns; empty: medians
    share: Annotated[float, "> 0", "<= 1"] | None = 0.5  # of the samples, kept by scaling thresholds; null: as they are
    passes: Annotated[int, ">= 0"] = 1  # kinds or columns in which a sample must pass; 0: kept at random, a control
    synthetic: Annotated[float, ">= 0"] = 0.0  # new samples, as a share of all that the site has; 0: none

    @property
    def kinds(self) -> list[Kind]:
        """The kinds that are counted."""
        return self.entities or ["label"]

    def build(self, model: Net, task: Task) -> None:
        counted = expect_entities(self.kinds, self.columns, task)
        if self.thresholds and len(self.thresholds) != len(counted):
            raise _problem("thresholds", f"expected one for each of {counted}, got {len(self.thresholds)}")
        if self.passes > len(counted):
            raise _problem("passes", f"expected at most the {len(counted)} of {counted}, got {self.passes}")
        if self.synthetic:
            task.inputs.require("mixing")

    def stages(self) -> tuple[Stage, ...]:
        return (Stage(sampler=self.rebalanced),)

    def rebalanced(self, site: Site) -> NDArray[np.int64]:
        """The samples that are kept, in random order, and among them scarce ones once more for each new one."""
        if KEPT not in site.state or len(site.state[KEPT]) != site.num_samples:
            self.analyse(site)
        order = site.state[KEPT].nonzero().flatten().cpu().numpy()
        if NEW in site.state:
            scarce = site.state[NEW].nonzero().flatten().cpu().numpy()
            order = np.concatenate([order, site.rng.choice(scarce, round(self.synthetic * site.num_samples))])
        return site.rng.permutation(order)

    def analyse(self, site: Site) -> None:
        """Decide which of the site's samples are used, and which stand for new ones as well; the same in all rounds."""
        counted = [entities(site, kind) for kind in self.kinds] + [grouped(site, column) for column in self.columns]
        thresholds = self.thresholds or medians(counted)
        kept, scarce = calibrated(counted, thresholds, self.passes, site.num_samples, self.share, site.rng)
        site.state[KEPT] = torch.from_numpy(kept).to(site.data.index.device)

        if (number := round(self.synthetic * site.num_samples)) and scarce.any():
            chance = scarce * number / (number + scarce.sum())
            site.state[NEW] = torch.from_numpy(chance).to(site.data.index.device)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if NEW in site.state and site.model.training:
            chance = site.state[NEW][batch.rows].cpu().numpy()
            batch = self.synthesised(site, batch, site.rng.random(len(batch)) < chance)
        return super().loss(site, batch)

    def synthesised(self, site: Site, batch: Batch, new: NDArray[np.bool_]) -> Batch:
        """The batch with new samples in the place of some, which have their labels; override it for another synthesis.

        Here they lie at a random place between the sample and another one of the site that follows the same class.

        Args:
            new: [B] which samples are replaced.
        """
        lead, _ = followed(site)
        rows = batch.rows.cpu().numpy()
        partners = np.array([site.rng.choice(np.flatnonzero(lead == lead[row])) for row in rows[new]], np.int64)
        if not len(partners):
            return batch
        others = site.trainer.batch(site, torch.from_numpy(partners).to(batch.rows.device)).x
        place = torch.from_numpy(site.rng.random(len(partners))).to(others).view(-1, *[1] * (others.ndim - 1))
        chosen = torch.from_numpy(new).to(batch.rows.device)
        x = batch.x.clone()
        x[chosen] = x[chosen] + place * (others - x[chosen])
        return Batch(x, batch.y, batch.rows)


def _problem(key: str, message: str) -> ScenarioError:
    return ScenarioError(Problem(f"learner.{key}", message))
