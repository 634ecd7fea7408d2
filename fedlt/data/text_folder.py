"""Texts in folders, one folder for each class and one file for each text: the layouts of `fedlt.data.image_folder`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from fedlt.data.image_folder import NO_DATA, ClassFolder, Sample
from fedlt.data.inputs import Given
from fedlt.data.raw import RawData, checked
from fedlt.data.utf8 import read_text

TEXTS = (".txt",)


@dataclass(frozen=True)
class TextFolder(ClassFolder):
    """The data set of a folder of texts, classes and files in alphabetical order."""

    thing: ClassVar[str] = "text"
    endings: ClassVar[tuple[str, ...]] = TEXTS
    passed_over: ClassVar[tuple[str, ...]] = tuple(ending for ending in NO_DATA if ending not in TEXTS)

    def read(self, place: Path | None = None) -> RawData:
        """All of it."""
        train, test = map(_texts, self._splits)
        return checked(self.read_labels(), train, test, self.config, place)


def _texts(split: Sequence[Sample]) -> Given:
    texts = np.empty(len(split), object)
    texts[:] = [read_text(sample.path) for sample in split]
    return Given(texts)
