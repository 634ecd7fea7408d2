"""Mixed samples and their soft targets.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.data.site import Batch


@dataclass(frozen=True)
class Mixed:
    """x: [B, ...] mixed inputs. y: [B] targets. order: [B] each sample's partner. share: the sample's, in (0, 1)."""

    x: Tensor
    y: Tensor
    order: Tensor
    share: float

    def blend(self, values: Tensor) -> Tensor:
        """[B, ...] values of the samples, mixed like the samples themselves."""
        return self.share * values + (1 - self.share) * values[self.order]

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy with the soft target share * y + (1 - share) * the partner's."""
        mine, other = F.cross_entropy(logits, self.y), F.cross_entropy(logits, self.y[self.order])
        return self.share * mine + (1 - self.share) * other


def mixup(batch: Batch, rng: np.random.Generator, alpha: float) -> Mixed:
    """Each sample mixed with another one of the batch; one share for the batch, drawn from Beta(alpha, alpha)."""
    share = float(rng.beta(alpha, alpha))
    order = torch.from_numpy(rng.permutation(len(batch))).to(batch.y.device, non_blocking=True)
    return Mixed(share * batch.x + (1 - share) * batch.x[order], batch.y, order, share)
