"""Tasks that need no labels: what an image looks like is asked of the image itself.

Gidaris, Singh, Komodakis: Unsupervised Representation Learning by Predicting Image Rotations. ICLR 2018.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

TURNS = 4  # quarter turns that are told apart


def rotated(x: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Images [B, C, H, H], each turned by a random number of quarter turns, and these numbers [B]."""
    turns = torch.from_numpy(rng.integers(TURNS, size=len(x))).to(x.device, non_blocking=True)
    turned = torch.stack([torch.rot90(x, quarter, (2, 3)) for quarter in range(TURNS)])
    return turned[turns, torch.arange(len(x), device=x.device)], turns
