"""Characters of a font as classes (`data.name=glyphs`): as many as the font has, at hand wherever there is a font.

After the MegaHan97K data set (Zhang and others: MegaHan97K: A Large-Scale Dataset for Mega-Category Chinese Character
Recognition. Pattern Recognition 2025), whose pictures are given on application only: here glyphs are drawn from a font
and varied (`fedlt.data.glyph_pictures`). What it keeps of it is the number of classes, that many look alike, and that
each is put together of parts that others have, too. A thousand classes are the first of five thousand, so that data of
several sizes are about the same characters.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.digests import stamp
from fedlt.data.glyph_pictures import SIDE, Pen
from fedlt.data.image_folder import without_columns
from fedlt.data.inputs import Given
from fedlt.data.kind_of import chosen
from fedlt.data.known import GLYPHS
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels
from fedlt.data.split_share import check_share
from fedlt.data.stored import RowWriter
from fedlt.data.tables import columns_of
from fedlt.process.seeding import generator

if TYPE_CHECKING:
    from fedlt.config.sections import Data

KEY = "data.glyphs"
SEED = 0  # of characters and pictures: all runs have the same
FORMAT = 1  # part of the cache's key: to be raised when other pictures are drawn

HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x2F7FF), (0x30000, 0x323AF))
"""First and last code points of the unified ideographs. Those for compatibility look like these, and are left out."""

FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts", "/Library/Fonts",
    "/System/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
"""Where systems keep fonts."""

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Glyphs:
    """The drawn characters as a data set."""

    config: Data
    name: str = GLYPHS

    def identity(self) -> list[Any]:
        """The font, what draws it, and all keys that decide the pictures."""
        wanted = asdict(self.config.glyphs)
        del wanted["font"]
        return [stamp([self.font]), version("pillow"), FORMAT, [*wanted.items()], columns_of(self.config)]

    def read(self, place: Path | None = None) -> RawData:
        """Draw all pictures, class by class."""
        labels, wanted, splits = self.read_labels(), self.config.glyphs, []
        pen = Pen(self.font)
        for split in SPLITS:
            number = getattr(wanted, split)
            writer = RowWriter(number * wanted.classes, (SIDE, SIDE), np.uint8, place, f"drawn_{split}")
            for code in self.code_points.tolist():
                writer.append(pen.variants(chr(code), number, generator(SEED, f"glyphs-{split}", code)))
            splits.append(Given(writer.array()))
        return checked(labels, splits[0], splits[1], self.config, place)

    def read_labels(self) -> RawLabels:
        """Classes alone, named like U+5973."""
        self._refuse_other_keys()
        y, y_test = (
            np.repeat(np.arange(self.config.glyphs.classes), getattr(self.config.glyphs, split)) for split in SPLITS
        )
        names = [f"U+{code:04X}" for code in self.code_points.tolist()]
        return checked_labels(self.name, y, y_test, {}, {}, names, chosen(self.config))

    @cached_property
    def font(self) -> Path:
        """The font's file. Raises `ScenarioError` where there is none."""
        return font_file(self.config.glyphs.font)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """[n] all code points of the font that may be classes, in the order in which they become it."""
        held = code_points(self.font, self.config.glyphs.characters)
        return held[generator(SEED, "glyphs").permutation(len(held))]

    @cached_property
    def code_points(self) -> NDArray[np.int64]:
        """[C] those that are classes, each with a glyph that no class before it has.

        Raises:
            ScenarioError: where the font has too few.
        """
        wanted, order, pen = self.config.glyphs, self.order, Pen(self.font)
        found: list[int] = []
        seen = {pen.glyph(" ").tobytes()}
        for code in order.tolist():
            if len(found) == wanted.classes:
                break
            drawn = pen.glyph(chr(code)).tobytes()
            if drawn not in seen:
                seen.add(drawn)
                found.append(code)

        if len(found) < wanted.classes:
            what = "Han characters" if wanted.characters == "han" else "letters"
            remedy = f"take at most {len(found):,}" if len(found) > 1 else f"set {KEY}.characters=letters"
            message = f"{self.font.name} has {len(found):,} {what} of different looks; {remedy}, or name another font"
            raise refuse(f"{message} ({KEY}.font)", f"{KEY}.classes")
        return np.array(found, np.int64)

    def drawn(self, codes: Sequence[int], number: int) -> NDArray[np.uint8]:
        """uint8 [n, number, SIDE, SIDE] further variants of characters, such as of those that are no class.

        Args:
            codes: n code points.
            number: of variants of each.
        """
        pen = Pen(self.font)
        return np.stack([pen.variants(chr(code), number, generator(SEED, "glyphs-drawn", code)) for code in codes])

    def _refuse_other_keys(self) -> None:
        """Raise `ScenarioError` for keys of sources that have columns, files and splits of other names."""
        without_columns(self.config, f"the built-in set {self.name}")
        for split in SPLITS:
            if getattr(self.config, f"{split}_split") != split:
                raise refuse(f"{self.name} has the splits train and test; remove it", f"data.{split}_split")
        check_share(self.config.test_share, self.name, "test", found=True)


def font_file(name: str) -> Path:
    """The file of a font.

    Args:
        name: a path, or the name of a file somewhere in the folders where systems keep fonts.

    Raises:
        ScenarioError: under `data.glyphs.font` where there is none.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    if "/" not in name:
        for folder in map(os.path.expanduser, FOLDERS):
            if found := sorted(Path(folder).rglob(name)):
                return found[0]
    where = "no such file" if "/" in name else "there is no such file in the folders where systems keep fonts"
    remedy = "install one (Debian and Ubuntu: apt install fonts-hanazono), or give the file of another font"
    raise refuse(f"{name}: {where}; {remedy}", f"{KEY}.font")


def code_points(font: Path, characters: str = "han") -> NDArray[np.int64]:
    """[n] ascending code points that a font has glyphs for.

    Args:
        font: its file.
        characters: `han` or `letters`, those of all scripts.

    Raises:
        ScenarioError: under `data.glyphs.font` for a file that is no font.
    """
    from matplotlib.ft2font import FT2Font

    try:
        held = sorted(FT2Font(str(font)).get_charmap())
    except (RuntimeError, OSError) as error:
        raise refuse(f"{font} is no font that FreeType can read; give another file", f"{KEY}.font") from error
    if characters == "letters":
        return np.array([code for code in held if chr(code).isalpha()], np.int64)
    return np.array([code for code in held if any(first <= code <= last for first, last in HAN)], np.int64)
