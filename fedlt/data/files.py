"""Data sets in plain files: an .npz file, or a folder of pictures with one subfolder for each class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.digests import stamp
from fedlt.data.images import same_channels, stack
from fedlt.data.npz import opened
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels, refuse
from fedlt.data.tables import ParquetFolder, columns_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from fedlt.scenario import Data

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclass(frozen=True)
class Npz:
    """Arrays `x_train, y_train, x_test, y_test`; further columns `NAME_train` (and `NAME_test`) are groups.

    Other columns and splits: `<input_column>_<train_split>` and so on. `class_names` is taken where it is there.
    """

    config: Data
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    def identity(self) -> list[Any]:
        """What decides the arrays: the file and the columns."""
        return [stamp([self.path]), columns_of(self.config)]

    def read(self) -> RawData:
        """All of it."""
        inputs = self.config.input_column or "x"
        names = [f"{inputs}_{split}" for split in (self.config.train_split, self.config.test_split)]
        arrays = self._arrays(names)
        return checked(self.read_labels(), *(arrays[name] for name in names))

    def read_labels(self) -> RawLabels:
        """Labels and group columns; the inputs are not read."""
        config, target = self.config, self.config.target_column or "y"
        train, test = f"_{config.train_split}", f"_{config.test_split}"
        needed = [target + train, target + test, *(column + train for column in config.group_columns)]
        arrays = self._arrays(needed, optional=["class_names"])
        groups = config.group_columns or self._group_columns(train, arrays[target + train].shape)
        columns = self._arrays([g + train for g in groups], optional=[g + test for g in groups])
        names = arrays.get("class_names", np.zeros(0, np.str_))
        if names.ndim != 1:
            raise refuse(f"{self.path}: class_names must be one text per class, got shape {list(names.shape)}")
        if config.target_column is not None:
            names = names[:0]  # they name the classes of y
        return checked_labels(
            self.name,
            arrays[target + train],
            arrays[target + test],
            {g: columns[g + train] for g in groups},
            {g: columns[g + test] for g in groups if g + test in columns},
            [str(name) for name in names],
        )

    def _group_columns(self, suffix: str, shape: tuple[int, ...]) -> list[str]:
        """Columns beside the inputs and the labels that have one whole number or text for each row; shape: the labels'.

        Arrays named x... are other inputs: they are passed over by name, because reading them only to see their
        shape would be slow.
        """
        used = {f"{self.config.input_column or 'x'}{suffix}", f"{self.config.target_column or 'y'}{suffix}"}
        found = [key for key in self._keys if key.endswith(suffix) and key not in used and not key.startswith("x")]
        arrays = self._arrays(found)
        fitting = [key for key in found if arrays[key].shape == shape and arrays[key].dtype.kind in "iubU"]
        return [key.removesuffix(suffix) for key in fitting]

    @cached_property
    def _keys(self) -> list[str]:
        return list(self._open([], []))

    def _arrays(self, needed: list[str], optional: list[str] | None = None) -> dict[str, NDArray[Any]]:
        missing = [key for key in needed if key not in self._keys]
        if missing:
            known = ", ".join(self._keys)
            raise refuse(f"{self.path} lacks the arrays {', '.join(missing)}; it has: {known}")
        found = self._open(needed, optional or [])
        return {key: array for key, array in found.items() if array is not None}

    def _open(self, needed: list[str], optional: list[str]) -> dict[str, NDArray[Any] | None]:
        """Every key of the file, with its array where that was asked for."""
        wanted = {*needed, *optional}
        with opened(self.path, refuse) as content:
            return {key: content[key] if key in wanted else None for key in content.files}


@dataclass(frozen=True)
class ImageFolder:
    """Pictures as `<split>/<class>/<file>`, classes and files in alphabetical order."""

    config: Data
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def identity(self) -> list[Any]:
        """What decides the arrays: the files and the splits."""
        return [stamp([path for files in self._files for path, _ in files]), columns_of(self.config)]

    def read(self) -> RawData:
        """All of it."""
        labels = self.read_labels()
        train, test = (stack(self.name, _opened(files), len(files)) for files in self._files)
        return checked(labels, *same_channels(train, test))

    def read_labels(self) -> RawLabels:
        """Labels from the folders' names; no picture is read."""
        without_columns(self.config, f"the image folder {self.folder}")
        train, test = (np.array([label for _, label in files], np.str_) for files in self._files)
        return checked_labels(self.name, train, test, {}, {})

    @cached_property
    def _files(self) -> list[list[tuple[Path, str]]]:
        splits = []
        for split in (self.config.train_split, self.config.test_split):
            root = self.folder / split
            if not root.is_dir():
                raise refuse(f"{self.folder} has no folder {split!r}; expected {split}/CLASS/*.png")
            files = sorted(path for path in root.glob("*/*") if path.suffix.lower() in PICTURES)
            splits.append([(path, path.parent.name) for path in files])
        return splits


def folder_source(config: Data, folder: Path) -> ParquetFolder | ImageFolder:
    """The reader for a folder, by what it holds. Raises `ScenarioError`."""
    train = _parquet_files(folder, config.train_split)
    if train:
        test = _parquet_files(folder, config.test_split)
        if not test:
            raise refuse(f"{folder} has parquet files of {config.train_split!r}, but none of {config.test_split!r}")
        return ParquetFolder(config, folder, train, test)
    if any((folder / config.train_split).glob("*/*")):
        return ImageFolder(config, folder)
    split = config.train_split
    expected = f"{split}*.parquet, {split}/*.parquet, data/{split}-*.parquet or {split}/CLASS/*.png"
    raise refuse(f"{folder} holds no data set: expected {expected}")


def without_columns(config: Data, what: str) -> None:
    """Refuse column names for a source that has no columns."""
    for key in ("input_column", "target_column", "group_columns"):
        if getattr(config, key):
            raise refuse(f"has no effect: {what} has no columns; remove it", f"data.{key}")


def _parquet_files(folder: Path, split: str) -> tuple[Path, ...]:
    for pattern in (f"{split}*.parquet", f"{split}/*.parquet", f"data/{split}*.parquet", f"*/{split}*.parquet"):
        files = tuple(sorted(folder.glob(pattern)))
        if files:
            return files
    return ()


def _opened(files: list[tuple[Path, str]]) -> Iterator[Image]:
    import PIL.Image

    for path, _ in files:
        try:
            with PIL.Image.open(path) as image:
                image.load()
                yield image
        except OSError as error:
            raise refuse(f"{path} is not a readable picture: {error}") from error
