"""Learners with their key part switched off: what a method claims must be lost with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlt.data.site import Site
from fedlt.learners.batchformer import BatchFormer


@dataclass(frozen=True)
class ShuffledBatchFormer(BatchFormer):
    """The related features in random order, so that they no longer belong to the labels."""

    def related(self, site: Site, features: Tensor) -> Tensor:
        order = torch.from_numpy(site.rng.permutation(len(features))).to(features.device)
        return super().related(site, features)[order]
