"""Pictures of any common mode, from files or from tables, decoded in one place and stacked into one uint8 array."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse

if TYPE_CHECKING:
    from PIL.Image import Image

_GRAY = ("1", "L")
_COLOUR = ("P", "PA", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")


_ORIENTATION = 0x0112  # the EXIF tag


def decoded(source: Path | bytes, where: str) -> Image:
    """The picture as it is to be seen: turned as its EXIF orientation says. Raises `ScenarioError`.

    Cameras and phones store the pixels as the sensor lay and the turn beside them.

    source: a file, or its content. where: names the picture in the error.
    """
    import PIL.Image
    import PIL.ImageOps

    try:
        with PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.load()
            turned = image.getexif().get(_ORIENTATION, 1) != 1
            return PIL.ImageOps.exif_transpose(image) if turned else image
    except (OSError, ValueError, SyntaxError, EOFError, PIL.Image.DecompressionBombError) as error:
        raise refuse(f"{where} is not a readable picture: {error}") from error


def stack(name: str, images: Iterable[Image], count: int) -> NDArray[np.uint8]:
    """uint8 [count, H, W, C]: C = 1 where all pictures are gray, else 3. Raises `ScenarioError` for mixed sizes."""
    array = np.empty((0, 0, 0, 1), np.uint8)
    for row, image in enumerate(images):
        if image.mode not in _GRAY + _COLOUR:
            raise refuse(f"{name}: picture {row} has mode {image.mode}; convert the pictures to 8-bit gray or RGB")
        width, height = image.size
        if not row:
            array = np.empty((count, height, width, 1 if image.mode in _GRAY else 3), np.uint8)
        if (height, width) != array.shape[1:3]:
            sizes = f"picture 0 is {array.shape[2]}x{array.shape[1]}, picture {row} is {width}x{height}"
            raise refuse(f"{name}: all pictures must have one size, but {sizes} (width x height); resize them first")
        if array.shape[3] == 1 and image.mode not in _GRAY:
            array = in_colour(array)
        pixels = np.asarray(image.convert("L" if array.shape[3] == 1 else "RGB"))
        array[row] = pixels.reshape(array.shape[1:])
    return array


def in_colour(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gray pictures [N, H, W, 1] as RGB [N, H, W, 3]."""
    return np.repeat(array, 3, axis=3)


def same_channels(train: NDArray[np.uint8], test: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both in colour if one of them is."""
    if train.shape[3] == test.shape[3]:
        return train, test
    return (in_colour(train), test) if train.shape[3] == 1 else (train, in_colour(test))
