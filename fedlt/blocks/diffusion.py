"""A small diffusion model of images: noise is taken out step by step, given a class and features of an image.

Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models. NeurIPS 2020. Song, Meng, Ermon: Denoising Diffusion
Implicit Models. ICLR 2021 (the sampler). Nichol, Dhariwal: Improved Denoising Diffusion Probabilistic Models. ICML 2021
(the levels). Salimans, Ho: Progressive Distillation for Fast Sampling of Diffusion Models. ICLR 2022 (the target).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 4  # of channels that are normalised together
WAVES = 8  # frequencies that tell the level


def signal_shares(levels: int) -> Tensor:
    """[T] the share of an image's variance that is left at each level, by a cosine: from almost 1 to almost 0."""
    place = (torch.arange(levels, dtype=torch.float64) + 0.5) / levels
    return ((place * pi / 2).cos() ** 2).float()


def noisy(x: Tensor, noise: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Images at their levels, and what the network shall tell: sqrt(a) noise - sqrt(1 - a) x.

    Args:
        x: [B, C, H, W] images.
        noise: [B, C, H, W] of unit variance.
        share: [B] the level's share a.

    Returns:
        Two [B, C, H, W].
    """
    a = share[:, None, None, None]
    return a.sqrt() * x + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x


def denoised(tell: Callable[[Tensor, Tensor], Tensor], noise: Tensor, shares: Tensor, steps: int) -> Tensor:
    """[B, C, H, W] images made of noise, by steps without further chance (DDIM).

    Args:
        tell: (images, level [B]) -> what `noisy` asks for.
        noise: [B, C, H, W] of unit variance.
        shares: [T] of `signal_shares`.
        steps: of the T levels that are gone through, from the last to the first.
    """
    levels = torch.linspace(len(shares) - 1, 0, steps).round().long()
    x = noise
    for place, level in enumerate(levels):
        a = shares[level]
        v = tell(x, level.expand(len(x)))
        clean, left = a.sqrt() * x - (1 - a).sqrt() * v, (1 - a).sqrt() * x + a.sqrt() * v
        b = shares[levels[place + 1]] if place + 1 < steps else torch.ones(())
        x = b.sqrt() * clean + (1 - b).sqrt() * left
    return x


class Block(nn.Module):
    """Two convolutions beside a shortcut, with the condition added between them."""

    def __init__(self, into: int, out: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(GROUPS, into), nn.SiLU(), nn.Conv2d(into, out, 3, padding=1))
        self.told = nn.Linear(condition, out)
        self.second = nn.Sequential(nn.GroupNorm(GROUPS, out), nn.SiLU(), nn.Conv2d(out, out, 3, padding=1))
        self.shortcut = nn.Identity() if into == out else nn.Conv2d(into, out, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        inner = self.first(x) + self.told(condition)[:, :, None, None]
        return self.second(inner) + self.shortcut(x)  # type: ignore[no-any-return]


class Denoiser(nn.Module):
    """A U-Net of two resolutions, each half as fine as the one above it.

    Args:
        channels: of the images.
        classes: of which one is told.
        features: dimension of the features that may be told; zeros tell nothing.
        width: channels of the finer resolution; the coarser has twice as many.
        levels: T, of noise.
    """

    def __init__(self, channels: int, classes: int, features: int, width: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        if width % GROUPS:
            raise ValueError(f"a generator has a multiple of {GROUPS} channels, and learner.width is {width}")

        # What it is told, as one vector.
        size = 4 * width
        self.classes = nn.Embedding(classes, size)
        self.features = nn.Linear(features, size)
        self.level = nn.Linear(2 * WAVES, size)
        self.mixed = nn.Sequential(nn.SiLU(), nn.Linear(size, size), nn.SiLU())

        # The image's way, narrow in the middle.
        self.into = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.down, self.narrow = Block(width, width, size), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = Block(2 * width, 2 * width, size)
        self.wide, self.up = nn.Conv2d(2 * width, width, 1), Block(2 * width, width, size)
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, 4 * channels, 3, padding=1))

    def error(self, x: Tensor, level: Tensor, noise: Tensor, y: Tensor, features: Tensor) -> Tensor:
        """Mean squared error of what it tells of images with noise.

        Args:
            x, noise: [B, C, H, W] images, and what is added to them.
            level: [B] in 0..T-1.
            y, features: [B] and [B, D] what is told.
        """
        given, wanted = noisy(x, noise, signal_shares(self.levels).to(x)[level])
        return F.mse_loss(self(given, level, y, features), wanted)

    def images(self, noise: Tensor, y: Tensor, features: Tensor, steps: int) -> Tensor:
        """[B, C, H, W] images of classes y [B], made of noise [B, C, H, W] in so many steps."""
        shares = signal_shares(self.levels).to(noise)
        return denoised(lambda x, level: self(x, level, y, features), noise, shares, steps)

    def forward(self, x: Tensor, level: Tensor, y: Tensor, features: Tensor) -> Tensor:
        """[B, C, H, W] what `noisy` asks for.

        Args:
            x: [B, C, H, W] images with noise.
            level: [B] in 0..T-1.
            y, features: [B] and [B, D] what is told.
        """
        place = (level + 0.5) / self.levels
        waves = place[:, None] * pi * 2.0 ** torch.arange(WAVES, device=x.device) / 2
        told = self.level(torch.cat([waves.sin(), waves.cos()], 1)) + self.classes(y) + self.features(features)
        condition = self.mixed(told)

        height, width = x.shape[-2:]
        odd = (-width % 4, -height % 4)  # padded, so that every resolution halves
        fine = self.into(F.pixel_unshuffle(F.pad(x, (0, odd[0], 0, odd[1])), 2))
        fine = self.down(fine, condition)
        coarse = self.middle(self.narrow(fine), condition)
        raised = F.interpolate(self.wide(coarse), scale_factor=2.0, mode="nearest")
        made = self.out(self.up(torch.cat([raised, fine], 1), condition))
        return F.pixel_shuffle(made, 2)[..., :height, :width]
