"""Tasks that need no labels: what an image looks like is asked of the image itself.

Gidaris, Singh, Komodakis: Unsupervised Representation Learning by Predicting Image Rotations. ICLR 2018. Hidden pixels,
steps and numbers: Amos, Berant, Gupta: Never Train from Scratch. ICLR 2024.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.nn.net import Net

TURNS = 4  # quarter turns that are told apart


def rotated(x: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Images [B, C, H, H], each turned by a random number of quarter turns, and these numbers [B]."""
    turns = torch.from_numpy(rng.integers(TURNS, size=len(x))).to(x.device, non_blocking=True)
    turned = torch.stack([torch.rot90(x, quarter, (2, 3)) for quarter in range(TURNS)])
    return turned[turns, torch.arange(len(x), device=x.device)], turns


class Denoiser(nn.Module):
    """Tells a sample of which parts are hidden: from the encoder's features, or each row from its own state.

    The latter where the encoder has `states(x, mask)`, which gives a state [S] for each row of the last axis, and tells
    S as `state_dim`: the steps of a sequence, or the rows of an image.
    """

    def __init__(self, encoder: nn.Module, dim: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.by_row = shape, hasattr(encoder, "states")
        self.tell = nn.Linear(encoder.state_dim, shape[-1]) if self.by_row else nn.Linear(dim, math.prod(shape))  # type: ignore[arg-type]

    def forward(self, model: Net, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B, ...] what the samples x are taken for, like them in shape; mask: [B, L] real steps, where x has some."""
        if self.by_row:
            return self.tell(model.backbone.states(x, mask)).view_as(x)  # type: ignore[operator, no-any-return]
        return self.tell(model.encode(x, mask)).view(-1, *self.shape)[:, : x.shape[1]]  # type: ignore[no-any-return]


def hidden_inputs_loss(
    model: Net, denoiser: Denoiser, x: Tensor, mask: Tensor | None, share: float, rng: np.random.Generator
) -> Tensor:
    """Mean absolute error of what is told of hidden numbers, for which the encoder reads 0, their mean.

    Hidden are pixels with all their channels, steps with all their measurements, or single numbers of a row.

    Args:
        x: [B, ...] standardised inputs.
        mask: [B, L] which steps are real; None for inputs of one length.
        share: the chance of each pixel, step or number to be hidden; one of the batch is in any case.
        rng: of what is hidden.
    """
    places = (len(x), 1, *x.shape[2:]) if x.ndim == 4 else x.shape[:2]
    drawn = torch.from_numpy(rng.random(tuple(places))).to(x.device)
    drawn = drawn if mask is None else drawn.masked_fill(~mask, 2.0)
    hidden = drawn <= drawn.min().clamp(min=share)
    hidden = (hidden[:, :, None] if x.ndim == 3 else hidden).expand_as(x)
    told = denoiser(model, x.masked_fill(hidden, 0.0), mask)
    return F.l1_loss(told[hidden], x[hidden])
