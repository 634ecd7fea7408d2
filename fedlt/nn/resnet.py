"""Residual networks for small images (He et al., CVPR 2016).

ResNet-8/20/32: the CIFAR family, widths 16-32-64, parameter-free shortcuts (zero-padded channels).
ResNet-18/34: widths 64-128-256-512 with 1 x 1 shortcuts and, as is usual on CIFAR, a 3 x 3 stem without pooling.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from fedlt.nn.model import ImageModel
from fedlt.nn.norm import Norm, norm


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; ReLU after the sum."""

    def __init__(self, into: int, out: int, stride: int, kind: Norm, projected: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, padding=1, bias=False)
        self.norm1 = norm(kind, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = norm(kind, out)
        self.stride, self.added = stride, out - into
        self.shortcut: nn.Module = nn.Identity()
        if projected and (stride > 1 or into != out):
            projection = nn.Conv2d(into, out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=projection, norm=norm(kind, out)))
            self.added = 0

    def forward(self, x: Tensor) -> Tensor:
        """The block: two convolutions, beside them the inputs, padded or projected where the shape changes."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        if self.added:
            x = F.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added // 2, self.added - self.added // 2)
            )
        return F.relu(out + self.shortcut(x))


class ResNetBackbone(nn.Module):
    """Stem, stages of blocks (each but the first halves the image), average over the image."""

    def __init__(
        self,
        channels: int,
        blocks: tuple[int, ...],
        widths: tuple[int, ...],
        kind: Norm,
        projected: bool,
        stem_stride: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, stem_stride, padding=1, bias=False)
        self.norm = norm(kind, widths[0])

        # Every stage but the first halves the picture in its first block.
        stages: list[nn.Module] = []
        into = widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            for index in range(count):
                stages.append(Block(into, width, 2 if stage and not index else 1, kind, projected))
                into = width

        self.blocks = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3))  # type: ignore[no-any-return]

    def split(self, late: bool = False) -> tuple[nn.Module, nn.Module]:
        """The stem, and the blocks with what follows them, as modules of their own;

        Args:
            late: all blocks but the last belong to the stem.
        """
        blocks = list(self.blocks)
        shared = blocks[:-1] if late else []
        own = blocks[len(shared) :]
        return nn.Sequential(self.stem, self.norm, nn.ReLU(), *shared), nn.Sequential(*own, ImageMean())


class ImageMean(nn.Module):
    """[B, C, H, W] to [B, C]: the average over the image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@dataclass(frozen=True)
class ResNet(ImageModel):
    """Base of the residual networks."""

    blocks: ClassVar[tuple[int, ...]]
    widths: ClassVar[tuple[int, ...]] = (16, 32, 64)
    projected: ClassVar[bool] = False

    norm: Literal["batch", "group"] = "batch"
    stem_stride: Annotated[int, ">= 1"] = 1  # 2 halves the image at once: a quarter of the arithmetic
    features: Annotated[int, ">= 1"] | None = None  # channels of the last stage; null: as in the paper

    def backbone(self, input_shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        channels, _, _ = self.image_shape(input_shape)
        widths = (*self.widths[:-1], self.features or self.widths[-1])
        module = ResNetBackbone(channels, self.blocks, widths, self.norm, self.projected, self.stem_stride)
        return module, widths[-1]


@dataclass(frozen=True)
class ResNet8(ResNet):
    """ResNet-8 of the CIFAR family, 64 features."""

    blocks: ClassVar[tuple[int, ...]] = (1, 1, 1)


@dataclass(frozen=True)
class ResNet20(ResNet):
    """ResNet-20 of the CIFAR family, 64 features."""

    blocks: ClassVar[tuple[int, ...]] = (3, 3, 3)


@dataclass(frozen=True)
class ResNet32(ResNet):
    """ResNet-32 of the CIFAR family, 64 features."""

    blocks: ClassVar[tuple[int, ...]] = (5, 5, 5)


@dataclass(frozen=True)
class ResNet18(ResNet):
    """ResNet-18 with the CIFAR stem, 512 features."""

    blocks: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)
    widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)
    projected: ClassVar[bool] = True


@dataclass(frozen=True)
class ResNet34(ResNet):
    """ResNet-34 with the CIFAR stem, 512 features."""

    blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)
    widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)
    projected: ClassVar[bool] = True
