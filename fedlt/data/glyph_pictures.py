"""Draws glyphs of a font, and varies them: turned, scaled, slanted, shifted, blurred, with noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIDE = 32
"""Height and width of a picture in pixels."""

DETAIL = 2  # pixels drawn for each one of a picture
EM = 0.8  # height of a character as a share of the picture

TURN, SLANT, SHIFT = 0.15, 0.15, 0.06  # at most: radians, the tangent of an angle, a share of the side
SCALES = 0.85, 1.1
BLUR, NOISE = 0.7, 24.0  # at most: pixels, and the standard deviation in 0..255


class Pen:
    """Draws characters of one font, white on black.

    Args:
        font: its file; of a collection the first one.
    """

    def __init__(self, font: Path) -> None:
        from PIL import ImageFont

        plain = ImageFont.Layout.BASIC  # the other one depends on a library that not all machines have
        self._font = ImageFont.truetype(str(font), round(EM * DETAIL * SIDE), layout_engine=plain)

    def glyph(self, character: str) -> NDArray[np.uint8]:
        """uint8 [SIDE, SIDE] the character as the font has it."""
        return np.asarray(self._drawn(character).reduce(DETAIL))

    def variants(self, character: str, number: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """uint8 [number, SIDE, SIDE] of a character, drawn by a generator."""
        from PIL import Image, ImageFilter

        plain, side = self._drawn(character), DETAIL * SIDE
        turn, slant = rng.uniform(-TURN, TURN, number), rng.uniform(-SLANT, SLANT, number)
        scale = rng.uniform(*SCALES, (number, 2))
        shift = rng.uniform(-SHIFT, SHIFT, (number, 2)) * side
        blur = rng.uniform(0, BLUR, number) * DETAIL
        noise = rng.uniform(0, NOISE, (number, 1, 1)) * rng.standard_normal((number, SIDE, SIDE), np.float32)

        found = np.empty((number, SIDE, SIDE), np.float32)
        for row in range(number):
            # From places of the picture to those of the plain glyph, both seen from the middle.
            cos, sin = np.cos(turn[row]), np.sin(turn[row])
            back = np.array([[1, slant[row]], [0, 1]]) @ np.array([[cos, -sin], [sin, cos]]) / scale[row][:, None]
            start = side / 2 - back @ (side / 2 + shift[row])
            place = (*back[0].tolist(), float(start[0]), *back[1].tolist(), float(start[1]))
            turned = plain.transform((side, side), Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
            found[row] = np.asarray(turned.filter(ImageFilter.GaussianBlur(float(blur[row]))).reduce(DETAIL))

        return np.rint(np.clip(found + noise, 0, 255)).astype(np.uint8)

    def _drawn(self, character: str) -> Picture:
        """The character about the middle of a picture of `DETAIL` times the side."""
        from PIL import Image, ImageDraw

        side = DETAIL * SIDE
        picture = Image.new("L", (side, side))
        ImageDraw.Draw(picture).text((side / 2, side / 2), character, fill=255, font=self._font, anchor="mm")
        return picture
