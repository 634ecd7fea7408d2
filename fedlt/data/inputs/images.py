"""Images: stored as uint8 [N, H, W, C], given to models as float32 [B, C, H, W], standardised per channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.counting import occurrences
from fedlt.data.inputs.kind import Given, InputKind, StoredInputs, spread, tensor_of
from fedlt.data.stored import pieces
from fedlt.errors import FedLTError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageKind(InputKind):
    """Images of one size.

    Attributes:
        size: (C, H, W).
        mean, std: float32 [C], of the pixels divided by 255.
        channels_last: memory order of batches.
    """

    name: ClassVar[str] = "images"
    title: ClassVar[str] = "images"

    size: tuple[int, int, int]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    channels_last: bool = False

    @classmethod
    def fits(cls, given: Given) -> bool:
        return given.x.ndim in (3, 4) and given.x.dtype == np.uint8 and given.mask is None

    @classmethod
    def read(cls, name: str, train: Given, test: Given) -> tuple[ImageKind, NDArray[Any], NDArray[Any]]:
        """Images of one shape, with the moments of the training pixels."""
        if train.x.shape[1:] != test.x.shape[1:]:
            shapes = f"{list(train.x.shape[1:])} (training) and {list(test.x.shape[1:])} (test)"
            raise refuse(f"{name}: all inputs must have one shape, got {shapes}")
        x_train, x_test = (_with_channels(name, given.x) for given in (train, test))
        height, width, channels = x_train.shape[1:]
        return cls((channels, height, width), *_moments(x_train)), x_train, x_test

    @classmethod
    def restored(cls, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ImageKind:
        channels, height, width = meta["size"]
        return cls((channels, height, width), arrays["mean"], arrays["std"])

    def meta(self) -> dict[str, Any]:
        return {"size": self.size}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean, "std": self.std}

    def stored(self, given: Given) -> NDArray[Any]:
        """Images as uint8 [N, H, W, C]."""
        channels, height, width = self.size
        expected = f"expected images uint8 [N, {height}, {width}, {channels}] (0..255)"
        x = given.x[..., None] if given.x.ndim == 3 and channels == 1 else given.x
        if given.mask is not None or given.categories is not None:
            raise FedLTError(f"{expected}, which have neither a mask nor categories; leave them out")
        if x.dtype.kind in "iu" and x.size and x.min() >= 0 and x.max() <= 255:
            x = x.astype(np.uint8)  # lists of whole numbers, say
        if x.dtype != np.uint8:
            remedy = "scale them back, as in (255 * x).round().astype('uint8')"
            raise FedLTError(f"{expected}, got {given.x.dtype}; {remedy}")
        if x.shape[1:] != (height, width, channels):
            one = given.x.shape in ((height, width, channels), (height, width))
            remedy = "x[None] makes a batch of one image" if one else "resize them, and put the channels last"
            raise FedLTError(f"{expected}, got shape {list(given.x.shape)}; {remedy}")
        return x

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size

    @property
    def serves(self) -> tuple[str, ...]:
        square = self.size[1] == self.size[2]
        return ("numbers", "views", "mixing", "pasting", "parts", *(("rotations",) if square else ()))

    def open(self, array: NDArray[Any], device: Any) -> StoredInputs:
        """The images on a device, standardised when they are taken."""
        import torch

        from fedlt.data.inputs.pixels import Images

        mean, std = (torch.from_numpy(moment.copy()).float().to(device) for moment in (self.mean, self.std))
        return Images(tensor_of(array, device), mean, std, self.channels_last)

    def example(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        import torch

        shape = (count, *self.size)
        return torch.zeros(shape) if generator is None else torch.randn(shape, generator=generator)

    def stored_example(self, count: int) -> Tensor:
        import torch

        channels, height, width = self.size
        return torch.zeros(count, height, width, channels, dtype=torch.uint8)

    def for_recipe(self, recipe: Any) -> ImageKind:
        """In the memory order of the recipe's key `channels_last`, where it has one."""
        return replace(self, channels_last=bool(getattr(recipe, "channels_last", False)))

    @property
    def memory_format(self) -> torch.memory_format:
        import torch

        return torch.channels_last if self.channels_last else torch.contiguous_format

    def obstacle(self, augment: str) -> str | None:
        return None


def _with_channels(name: str, x: NDArray[Any]) -> NDArray[Any]:
    """[N, H, W, C] of images with or without an axis of channels."""
    if x.ndim == 3:
        return x[..., None]
    if x.shape[1] in (1, 3, 4) and x.shape[3] not in (1, 3, 4):
        raise refuse(f"{name}: images must have their channels last, got {list(x.shape)}; use x.transpose(0, 2, 3, 1)")
    return x


def _moments(x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel: exact, from how often each of the 256 values occurs."""
    values = np.arange(256) / 255
    histograms = np.zeros((x.shape[3], 256), np.int64)
    for piece in pieces(x):
        for channel, histogram in enumerate(histograms):
            histogram += occurrences(piece[..., channel], 256)

    total = histograms[0].sum()
    mean = histograms @ values / total
    variance = (histograms * (values - mean[:, None]) ** 2).sum(axis=1) / total
    return mean.astype(np.float32), spread(variance)
