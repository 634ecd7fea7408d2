"""BBN, bilateral-branch network: one branch learns from the data as they are, the other from mostly rare classes.

Zhou, Cui, Wei, Chen: BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual Recognition. CVPR
2020. The branches share all but the last block. Their features, weighted by l and 1 - l, go through one head, and so
weighted are the losses of the two labels; l falls from 1 to 0 over the run, from the representation to the tail. The
prediction is with l = 1/2. The second branch's samples are of class c with a share proportional to 1 / n_c. Differs
from the official code: l follows every step, not the epoch; its samples are drawn for each batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.data.samplers import draw, followed, power_shares
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learner import Learner
from fedlt.nn.experts import Experts, add_branches
from fedlt.nn.net import Net


@dataclass(frozen=True)
class BBN(Learner):
    """Two branches, side by side in the features [B, 2 D], under one linear head."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    vectorizable: ClassVar[bool] = False

    def build(self, model: Net, task: Task) -> None:
        add_branches(model, 2, late=True)
        model.head = nn.Linear(model.feature_dim, task.num_classes)

    def loss(self, site: Site, batch: Batch) -> Tensor:
        reverse = site.batch(draw(site, power_shares(followed(site)[1], -1.0), len(batch)))
        two = cast(Experts, site.model.backbone)
        both = zip(two.branches, (batch.x, reverse.x), strict=True)
        plain, rare = (branch(site.model.through(two.stem, x)) for branch, x in both)

        # With l = 1/2, as in predictions, the features are as long as the branches give them.
        share = 1 - site.now**2
        logits = site.model.head(2 * torch.cat([share * plain, (1 - share) * rare], dim=1))
        return share * F.cross_entropy(logits, batch.y) + (1 - share) * F.cross_entropy(logits, reverse.y)
