"""H2T: while the classifier is trained anew on balanced draws, some channels of each feature are another sample's.

Li, Hu, Lu, Lan, Cheung, Huang: Feature Fusion from Head to Tail for Long-Tailed Visual Recognition. AAAI 2024. The
other sample is drawn as the data are, so it is mostly of a frequent class: a rare class is seen with the variety of
frequent ones, and its region grows. Labels are those of the balanced draws. Differs from the official code: channels
are replaced after the average over the image, which gives the same numbers; the head starts at zero, as in `crt`, not
from the first stage's; running statistics are frozen (`statistics=true`: they move); partners are drawn with
replacement; both stages share one budget of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch, Site
from fedlt.learners.crt import CRT


@dataclass(frozen=True)
class H2T(CRT):
    """Stages: representation (all parameters), classifier (the head, on fused features of class-balanced draws)."""

    needs: ClassVar[tuple[str, ...]] = ("head", "single_label")
    vectorizable: ClassVar[bool] = False

    rho: Annotated[float, ">= 0", "<= 1"] = 0.3  # share of the channels that are another sample's; 0 is `crt`

    def loss(self, site: Site, batch: Batch) -> Tensor:
        if site.stage.name != "classifier" or not self.rho:
            return super().loss(site, batch)

        # A partner for each sample, any sample of the site being as likely as any other.
        others = site.batch(site.rng.integers(site.num_samples, size=len(batch)))
        features = fused(site.model.encode(batch.x), site.model.encode(others.x), self.rho, site.rng)
        return F.cross_entropy(site.model.head(features), batch.y)


def fused(features: Tensor, others: Tensor, rho: float, rng: np.random.Generator) -> Tensor:
    """[B, D] features in which a random share rho of the channels, the same for all rows, is that of others [B, D]."""
    dim = features.shape[1]
    taken = np.isin(np.arange(dim), rng.permutation(dim)[: int(rho * dim)])
    return torch.where(torch.from_numpy(taken).to(features.device, non_blocking=True), others, features)
