"""Strong augmentation, of which two draws look like two images: crops of any size, and other colours.

Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations. ICML 2020, with
the strengths usual on CIFAR; without shifts of hue, and blur is not used on images this small.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

AREA = 0.2, 1.0  # of a crop, as a share of the image's
RATIO = 3 / 4, 4 / 3  # of a crop's width to its height, relative to the image's
JITTER = 0.4  # factors of brightness, contrast and saturation are within 1 +- this
RECOLOURED, GRAY = 0.8, 0.2  # shares of the images


def zoomed(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random crop of each image, brought back to its size by bilinear interpolation; half of them are mirrored.

    Args:
        x: [B, C, H, W], of decimal numbers.
        generator: of the draws, on the images' device; None: PyTorch's own.

    Returns:
        [B, C, H, W].
    """
    count, device = len(x), x.device
    draws = torch.rand(5, count, generator=generator, device=device)
    area = AREA[0] + (AREA[1] - AREA[0]) * draws[0]
    ratio = (math.log(RATIO[0]) + math.log(RATIO[1] / RATIO[0]) * draws[1]).exp()
    wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    mirror = torch.where(draws[2] < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = wide * mirror, high
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide) * (2 * draws[3] - 1), (1 - high) * (2 * draws[4] - 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def recolour(x: Tensor, white: float, generator: torch.Generator | None) -> None:
    """Change brightness, contrast and saturation of most images in place, and take the colour off some.

    Args:
        x: [B, C, H, W] in 0..white.
        white: the largest value that a pixel can have.
        generator: of the draws, on the images' device; None: PyTorch's own.
    """
    count = len(x)
    draws = torch.rand(5, count, 1, 1, 1, generator=generator, device=x.device)
    chosen = draws[3] < RECOLOURED
    bright, contrast, colour = (torch.where(chosen, 1 + JITTER * (2 * draw - 1), 1.0) for draw in draws[:3])
    colour = torch.where(draws[4] < GRAY, 0.0, colour)
    x.mul_(bright).clamp_(0, white)
    mean = x.mean((1, 2, 3), keepdim=True)
    x.sub_(mean).mul_(contrast).add_(mean).clamp_(0, white)
    gray = x.mean(1, keepdim=True)
    x.sub_(gray).mul_(colour).add_(gray).clamp_(0, white)
