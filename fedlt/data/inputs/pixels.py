"""Batches of images, and their augmentation.

Images stay uint8 [N, H, W, C], as stored; a batch is gathered by index, augmented, and normalised as one tensor.
Beyond the image a `crop` finds black, as is usual, and a `shift` the mean colour, which is zero for the network, like
the padding of its convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlt.data.inputs.strong import recolour, zoomed


class Images:
    """uint8 images [N, H, W, C]; batches are float32 [B, C, H, W], standardised per channel."""

    def __init__(self, pixels: Tensor, mean: Tensor, std: Tensor, channels_last: bool) -> None:
        self.pixels, self.channels_last = pixels, channels_last
        self.scale = (1 / (255 * std)).view(-1, 1, 1)
        self.shift = (-mean / std).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Tensor:
        """Images of the rows, augmented and standardised."""
        if augment == "none":
            return self.ready(self.pixels[rows])
        parts = tuple(augment.split("_"))
        pixels, inside = _crop_flip(self.pixels, rows, parts, generator)
        if inside is not None and "crop" in parts:
            pixels = pixels * inside
        x = pixels.permute(0, 3, 1, 2).to(torch.float32)  # keeps the order of the bytes: channels last
        if "strong" in parts:
            x = zoomed(x, generator)
            recolour(x, 255.0, generator)
        x = x.mul_(self.scale).add_(self.shift)
        if inside is not None and "shift" in parts:
            x.mul_(inside.permute(0, 3, 1, 2))
        if "cutout" in parts:
            _cut_out(x, generator)
        return x if self.channels_last else x.contiguous()

    def ready(self, stored: Tensor) -> Tensor:
        x = stored.permute(0, 3, 1, 2).to(torch.float32).mul_(self.scale).add_(self.shift)  # channels last, as stored
        return x if self.channels_last else x.contiguous()


def _crop_flip(
    pixels: Tensor, rows: Tensor, parts: tuple[str, ...], generator: torch.Generator | None
) -> tuple[Tensor, Tensor | None]:
    """Random crop after padding by an eighth of the height (4 on CIFAR), and random horizontal flip.

    Both in one gather: sample b's pixel (i, j) comes from row i + dy and column j + dx, or its mirror image. With them
    [B, H, W, 1] which pixels lie inside the image; the caller fills the others. None without a crop.
    """
    moved = "crop" in parts or "shift" in parts
    if not moved and "flip" not in parts:
        return pixels[rows], None
    count, (height, width), device = len(rows), pixels.shape[1:3], pixels.device
    down = torch.arange(height, device=device).expand(count, height)
    right = torch.arange(width, device=device).expand(count, width)
    if "flip" in parts:
        mirrored = torch.rand(count, 1, generator=generator, device=device) < 0.5
        right = torch.where(mirrored, width - 1 - right, right)

    if not moved:
        return pixels[rows[:, None, None], down[:, :, None], right[:, None, :]], None
    pad = max(1, height // 8)
    shifts = torch.randint(-pad, pad + 1, (2, count, 1), generator=generator, device=device)
    down, right = down + shifts[0], right + shifts[1]
    inside = ((down >= 0) & (down < height))[:, :, None] & ((right >= 0) & (right < width))[:, None, :]
    source = down.clamp(0, height - 1)[:, :, None], right.clamp(0, width - 1)[:, None, :]

    return pixels[rows[:, None, None], source[0], source[1]], inside[..., None]


def _cut_out(x: Tensor, generator: torch.Generator | None) -> None:
    """Cutout (DeVries and Taylor, 2017): a square of half the height around a random centre becomes the mean."""
    count, _, height, width = x.shape
    half = height // 4
    centre = [torch.randint(size, (count, 1), generator=generator, device=x.device) for size in (height, width)]
    down = (torch.arange(height, device=x.device) - centre[0]).abs() < half
    right = (torch.arange(width, device=x.device) - centre[1]).abs() < half
    x.masked_fill_((down[:, :, None] & right[:, None, :])[:, None], 0.0)
