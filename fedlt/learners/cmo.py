"""CMO, context-rich minority oversampling: boxes of images of rare classes are pasted into images as the data are.

Park, Hong, Heo, Yun, Choi: The Majority Can Help the Minority: Context-rich Minority Oversampling for Long-tailed
Classification. CVPR 2022. The backgrounds of frequent classes give rare objects a variety that drawing the same few
images again does not. The pasted image is drawn with a probability proportional to 1 / n_c for each sample, so that it
is of any class alike; soft targets go by area, as in CutMix. The loss is cross-entropy, or with `tau` logit adjustment,
of which 1 is the paper's Balanced Softmax. Differs from the official code: pasted images are drawn for each batch, not
in passes of their own; the share of the run without pasting is the same at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from fedlt.blocks.mixing import pasted
from fedlt.blocks.priors import log_prior
from fedlt.data.samplers import draw, followed, power_shares
from fedlt.data.site import Batch, Site
from fedlt.data.task import Task
from fedlt.learners.logit_adjustment import LogitAdjustment
from fedlt.nn.net import Net


@dataclass(frozen=True)
class CMO(LogitAdjustment):
    """Adjusted cross-entropy with the targets of both images, by area, in a part of the batches."""

    vectorizable: ClassVar[bool] = False

    tau: Annotated[float, ">= 0"] = 0.0  # of the logit adjustment; 0 is cross-entropy
    probability: Annotated[float, ">= 0", "<= 1"] = 0.5  # that a batch is pasted into
    balance: Annotated[float, ">= 0"] = 1.0  # samples are pasted by 1 / n_c^balance: 1 all classes alike, more the tail
    beta: Annotated[float, "> 0"] = 1.0  # the part of the image that is left is drawn from Beta(beta, beta)
    plain: Annotated[float, ">= 0", "< 0.5"] = 0.015  # share of the run at its start, and at its end, without pasting

    def build(self, model: Net, task: Task) -> None:
        task.inputs.require("pasting")

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if not self.pastes(site):
            return super().loss(site, batch)

        # Parts of further images pass the model in the place of others, so that no more samples are counted.
        drawn = draw(site, power_shares(followed(site)[1], 1 - self.balance), len(batch))
        others = site.trainer.batch(site, torch.from_numpy(drawn).to(batch.rows.device, non_blocking=True))
        mixed = pasted(batch, others, site.rng, self.beta)
        return mixed.cross_entropy(site.model(mixed.x) + self.tau * log_prior(site.class_counts))

    def pastes(self, site: Site) -> bool:
        """Whether the next batch is pasted into."""
        if not self.probability:
            return False
        inside = not self.plain or self.plain <= site.now < 1 - self.plain
        return inside and site.rng.random() < self.probability
