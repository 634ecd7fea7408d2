"""Mixed samples and their soft targets.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedlt.site import Batch


@dataclass(frozen=True)
class Mixed:
    """x: [B, ...] mixed inputs. y, partner: [B] the two targets. share: that of `y`, the rest is `partner`'s."""

    x: Tensor
    y: Tensor
    partner: Tensor
    share: float

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy with the soft target share * y + (1 - share) * partner."""
        mine, other = F.cross_entropy(logits, self.y), F.cross_entropy(logits, self.partner)
        return self.share * mine + (1 - self.share) * other


def mixup(batch: Batch, rng: np.random.Generator, alpha: float) -> Mixed:
    """Each sample mixed with another one of the batch; one share for the batch, drawn from Beta(alpha, alpha)."""
    share = float(rng.beta(alpha, alpha))
    order = torch.from_numpy(rng.permutation(len(batch))).to(batch.y.device)
    return Mixed(share * batch.x + (1 - share) * batch.x[order], batch.y, batch.y[order], share)
