"""Pictures that come as arrays of numbers: whole ones, decimal ones, or long rows, in any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.inputs.kind import Given
from fedlt.data.inputs.pictures import Fit, stack
from fedlt.data.stored import RowWriter, pieces

CHANNELS = (1, 3, 4)


def fitted(name: str, given: Given, fit: Fit, place: Path | None, file: str) -> Given:
    """The inputs of one split, pictures as uint8 and in the size that the scenario asks for.

    Pictures are told by their dimensions: uint8 [N, H, W], or [N, H, W, C] of any numbers; with `data.size`, rows of
    size * size numbers are gray pictures too. Decimal numbers lie in 0..1, or are whole ones in 0..255.

    Args:
        name: of the data set, for messages.
        given: the split's inputs.
        fit: the size of pictures.
        place, file: where an array is put that is large (`RowWriter`).

    Raises:
        ScenarioError: for numbers that are no pixels, and for a size beside inputs that are no pictures.
    """
    x, size = given.x, fit.size
    if given.mask is not None or given.categories is not None:
        return _without(name, given, fit)
    if size is not None and x.ndim == 2 and x.shape[1] == size * size and x.dtype.kind in "iuf":
        x = x.reshape(-1, size, size, 1)
    if not (x.dtype == np.uint8 and x.ndim == 3) and not (x.dtype.kind in "iuf" and x.ndim == 4):
        return _without(name, given, fit)

    if x.dtype != np.uint8:
        x = pixels(name, x, place, f"{file}_pixels")
    if size is None or x.shape[1:3] == (size, size):
        return replace(given, x=x)
    return replace(given, x=_resized(name, x, fit, place, f"{file}_resized"))


def pixels(name: str, x: NDArray[Any], place: Path | None, file: str) -> NDArray[np.uint8]:
    """Pictures that are numbers, as uint8.

    Decimal numbers in 0..1 are multiplied by 255 and rounded; whole ones in 0..255 are taken as they are.

    Args:
        name: of the data set, for messages.
        x: [N, ...], of any type of numbers; read piece by piece.
        place: folder for a large result; None: memory.
        file: its name there.

    Raises:
        ScenarioError: for numbers of another range, and NaN.
    """
    low, high, fractions = np.inf, -np.inf, False
    for piece in pieces(x):
        low, high = min(low, piece.min()), max(high, piece.max())
        fractions = fractions or bool((piece != np.rint(piece)).any())  # NaN is unequal to itself
    scaled = x.dtype.kind == "f" and low >= 0 and high <= 1
    if not scaled and (fractions or not (low >= 0 and high <= 255)):
        told = f"these go from {low:.4g} to {high:.4g}"
        remedy = "undo a standardisation (x * std + mean), divide 16 bits by 257, and store them as uint8"
        expected = f"pictures of {x.dtype} must lie in 0..1, or be whole numbers in 0..255"
        raise refuse(f"{name}: {expected}; {told}; {remedy}")

    writer = RowWriter(len(x), x.shape[1:], np.uint8, place, file)
    for piece in pieces(x):
        writer.append(np.rint(piece * np.float64(255)) if scaled else piece)
    return writer.array()


def _resized(name: str, x: NDArray[np.uint8], fit: Fit, place: Path | None, file: str) -> NDArray[np.uint8]:
    """Pictures [N, H, W] or [N, H, W, C] in another size."""
    import PIL.Image

    plain = x[..., 0] if x.ndim == 4 and x.shape[3] == 1 else x
    if plain.ndim == 4 and plain.shape[3] != 3:
        what = f"pictures of shape {list(x.shape[1:])}"
        raise refuse(f"{name}: {what} cannot be resized; store 1 or 3 channels, the last axis", "data.size")
    images = (PIL.Image.fromarray(row) for piece in pieces(plain) for row in piece)
    return stack(name, images, len(x), fit, place, file)


def _without(name: str, given: Given, fit: Fit) -> Given:
    """The inputs as they are, which are no pictures."""
    if fit.size is not None:
        what = f"the inputs are {given.x.dtype} {list(given.x.shape)}, and no pictures"
        raise refuse(f"has no effect: {name}: {what}; remove it", "data.size")
    return given
