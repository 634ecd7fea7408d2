"""Pictures of any common mode and size, from files or from tables, decoded in one place into one uint8 array."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.stored import RowWriter, pieces

if TYPE_CHECKING:
    from PIL.Image import Image

    from fedlt.config.sections import Data

_GRAY = ("1", "L")
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # 16 bits of gray; some files of 16 bits are opened as 32
_COLOUR = ("P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")

_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Fit:
    """How pictures come to one size (`data.size`, `data.crop`).

    Attributes:
        size: height and width in pixels; None: as they are.
        crop: center takes the largest square about the middle, squash all of the picture; either is scaled to size x
            size, bilinear and antialiased.
    """

    size: int | None = None
    crop: Literal["center", "squash"] = "center"

    @classmethod
    def of(cls, config: Data) -> Fit:
        """As the scenario says."""
        return cls(config.size, config.crop or "center")

    def __call__(self, image: Image) -> Image:
        """The picture in that size; one that has it already is not touched."""
        import PIL.Image

        if self.size is None or image.size == (self.size, self.size):
            return image
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side) if self.crop == "center" else None
        return image.resize((self.size, self.size), PIL.Image.Resampling.BILINEAR, box)


def decoded(source: Path | bytes, where: str) -> Image:
    """The picture as it is to be seen: turned as its EXIF orientation says. Raises `ScenarioError`.

    Cameras and phones store the pixels as the sensor lay and the turn beside them.

    Args:
        source: a file, or its content.
        where: names the picture in the error.
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


def stack(name: str, images: Iterable[Image], count: int, fit: Fit, place: Path | None, file: str) -> NDArray[np.uint8]:
    """uint8 [count, H, W, C]: C = 1 where all pictures are gray, else 3.

    Args:
        name: of the data set, for messages.
        images: as many as `count`, opened one at a time.
        count: N.
        fit: brings them to one size.
        place, file: where a large array is put (`fedlt.data.stored.RowWriter`), so that one picture at a time is in
            memory.

    Raises:
        ScenarioError: for mixed sizes.
    """
    writer: RowWriter | None = None
    gray, first = True, (0, 0)
    for row, image in enumerate(images):
        plain = fit(eight_bit(name, row, image))

        # A picture in colour after gray ones: what was written so far is written anew, once.
        if writer is not None and gray and plain.mode == "RGB":
            begun = in_colour(writer.array(), count, place, f"{file}_in_colour")
            writer, gray = begun, False
        if writer is None:
            gray, first = plain.mode == "L", plain.size
            shape = (plain.size[1], plain.size[0], 1 if gray else 3)
            writer = RowWriter(count, shape, np.uint8, place, file)

        if plain.size != first:
            sizes = f"picture 0 is {first[0]}x{first[1]}, picture {row} is {plain.size[0]}x{plain.size[1]}"
            remedy = "set data.size to bring them to one (in pixels; data.crop says how), or resize them first"
            raise refuse(f"{name}: all pictures must have one size, but {sizes} (width x height); {remedy}")
        pixels = np.asarray(plain if gray else plain.convert("RGB"))
        writer.append(pixels.reshape(1, *writer.shape[1:]))
    return np.empty((0, 0, 0, 1), np.uint8) if writer is None else writer.array()


def eight_bit(name: str, row: int, image: Image) -> Image:
    """The picture as 8-bit gray (L) or RGB; the lower 8 of 16 bits are dropped, and so is transparency.

    Args:
        name: of the data set, for the message.
        row: of the picture, likewise.
        image: in any mode of Pillow.

    Raises:
        ScenarioError: for a mode that has no such form.
    """
    import PIL.Image

    if image.mode in _GRAY:
        return image.convert("L")
    if image.mode in _COLOUR:
        return image.convert("RGB")
    if image.mode in _DEEP:
        values = np.asarray(image).astype(np.int64)
        if values.min() >= 0 and values.max() < 2**16:
            return PIL.Image.fromarray((values >> 8).astype(np.uint8))
    remedy = "convert the pictures to 8 or 16 bits of gray, or to RGB"
    raise refuse(f"{name}: picture {row} has mode {image.mode} with values that are no shades of 0..65535; {remedy}")


def in_colour(array: NDArray[np.uint8], count: int, place: Path | None, file: str) -> RowWriter:
    """Gray pictures as the first of an array of pictures in RGB.

    Args:
        array: uint8 [n, H, W, 1].
        count: pictures that the array will have.
        place: folder for a large array; None: memory.
        file: its name there.

    Returns:
        The writer, to which the others are appended.
    """
    writer = RowWriter(count, (*array.shape[1:3], 3), np.uint8, place, file)
    for piece in pieces(array):
        writer.append(np.repeat(piece, 3, axis=3))
    return writer


def same_channels(
    train: NDArray[np.uint8], test: NDArray[np.uint8], place: Path | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both splits in colour if one of them is.

    Args:
        train: uint8 [N, H, W, C], with C of 1 or 3.
        test: likewise.
        place: folder for large arrays; None: memory.
    """
    if train.shape[3] == test.shape[3]:
        return train, test
    if train.shape[3] == 1:
        return in_colour(train, len(train), place, "train_in_colour").array(), test
    return train, in_colour(test, len(test), place, "test_in_colour").array()
