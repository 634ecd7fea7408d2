"""Pictures in folders, one folder for each class; what folders of texts (`fedlt.data.text_folder`) have in common.

    SPLIT/CLASS/FILE           the usual layout
    SPLIT/SITE/CLASS/FILE      with data.group_columns=[site], since the folders alone could also be CLASS/PART
    SITE/SPLIT/CLASS/FILE      a folder per site
    CLASS/FILE                 without splits, with data.test_share; also SITE/CLASS/FILE with group_columns=[site]

Files at any other depth are refused rather than passed over. Names that begin with a point are no data (`.DS_Store`,
`.ipynb_checkpoints`).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.digests import stamp
from fedlt.data.inputs import Given
from fedlt.data.inputs.pictures import Fit, decoded, same_channels, stack
from fedlt.data.kind_of import chosen
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels
from fedlt.data.split_share import check_share, cut
from fedlt.data.tables import columns_of
from fedlt.data.text_columns import REMEDY

if TYPE_CHECKING:
    from fedlt.config.sections import Data
    from fedlt.errors import ScenarioError

SITE = "site"
"""The group column of layouts with a folder per site."""

KEY = "data.group_columns"

PICTURES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2",
)  # fmt: skip
NO_DATA = (".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".html", ".yaml", ".yml", ".log", ".py", ".db", ".ini")


@dataclass(frozen=True)
class Sample:
    """One file, and what the folders say of it.

    Attributes:
        path: of the file.
        label: the folder of its class.
        site: the folder above; empty in layouts without sites.
    """

    path: Path
    label: str
    site: str


@dataclass(frozen=True)
class ClassFolder(ABC):
    """The data set of a folder of files.

    Attributes:
        thing: what a file holds.
        endings: of its name.
        passed_over: those of others that may lie beside them.
    """

    thing: ClassVar[str]
    endings: ClassVar[tuple[str, ...]]
    passed_over: ClassVar[tuple[str, ...]]

    config: Data
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def identity(self) -> list[Any]:
        """What decides the arrays: the files, the splits and the columns."""
        return [stamp([sample.path for split in self._splits for sample in split]), columns_of(self.config)]

    @abstractmethod
    def read(self, place: Path | None = None) -> RawData:
        """All of it."""

    def read_labels(self) -> RawLabels:
        """Labels and sites from the folders' names; no file is read."""
        train, test = self._splits
        y_train, y_test = _texts(train, "label"), _texts(test, "label")
        if not self._by_site:
            return checked_labels(self.name, y_train, y_test, {}, {}, kind=chosen(self.config))
        sites = [{SITE: _texts(split, "site")} for split in (train, test)]
        return checked_labels(self.name, y_train, y_test, sites[0], sites[1], kind=chosen(self.config))

    @property
    def _by_site(self) -> bool:
        return any(sample.site for split in self._splits for sample in split)

    @cached_property
    def _splits(self) -> list[list[Sample]]:
        """The files of the training and of the test set."""
        config = self.config
        what = "image" if self.thing == "picture" else self.thing
        without_columns(config, f"the {what} folder {self.folder}", groups=SITE)
        roots = [self._roots(split) for split in (config.train_split, config.test_split)]
        if not roots[0] and config.test_share is not None:
            roots[0] = {"": self.folder}
        if not roots[0]:
            split = config.train_split
            raise refuse(f"{self.folder} has no folder {split!r}; expected {split}/CLASS/*{self.endings[0]}")

        lacks = f"has no folder {config.test_split!r}"
        check_share(config.test_share, str(self.folder), config.test_split, bool(roots[1]), lacks)
        splits = [[sample for site, root in found.items() for sample in self._samples(root, site)] for found in roots]
        self._refuse_empty(splits, roots)
        self._refuse_strangers(roots)
        if config.test_share is None:
            return splits

        rows = cut(_texts(splits[0], "label"), config.test_share)
        return [[splits[0][row] for row in part] for part in rows]

    def _roots(self, split: str) -> dict[str, Path]:
        """The folders that hold a split, by site."""
        if (self.folder / split).is_dir():
            return {"": self.folder / split}
        return site_folders(self.folder, split)

    def _samples(self, root: Path, site: str) -> list[Sample]:
        """The files beneath a split's folder, with class and site.

        Args:
            site: the one that all of them have, if any.
        """
        named = SITE in self.config.group_columns and not site
        depth = 3 if named else 2
        found = []

        for parts in sorted(_files(root)):
            path = root.joinpath(*parts)
            ending = path.suffix.lower()
            if ending in self.passed_over or parts[-1] == "Thumbs.db":
                continue
            if ending not in self.endings:
                told = f"{path} is no {self.thing} by its ending ({', '.join(self.endings)})"
                raise refuse(f"{told}; convert it, or take it out of the folder")
            if len(parts) != depth:
                raise self._misplaced(root, parts, depth)
            found.append(Sample(path, parts[-2], parts[0] if named else site))

        return found

    def _misplaced(self, root: Path, parts: tuple[str, ...], depth: int) -> ScenarioError:
        """That a file lies too deep, or not deep enough, and where it should."""
        place = root.joinpath(*parts)
        if depth == 3 and len(parts) == 2:
            return refuse(f"has no effect: {place} has no folder of a site above its class; remove it", KEY)
        message = f"{place} lies at another depth than {'SITE/' if depth == 3 else ''}CLASS/FILE beneath {root.name}"
        remedy = f"move the {self.thing}s of a class into one folder"
        if depth == 2 and len(parts) == 3:
            remedy += f", or set {KEY}=[{SITE}] if {parts[0]!r} is a site and {parts[1]!r} a class"
        return refuse(f"{message}; {remedy}")

    def _refuse_empty(self, splits: Sequence[list[Sample]], roots: Sequence[dict[str, Path]]) -> None:
        """Refuse class folders without a training sample: the class would vanish."""
        held = {sample.label for sample in splits[0]}
        for split, found in zip(splits, roots, strict=True):
            for site, root in found.items():
                inner = SITE in self.config.group_columns and not site
                parents = _folders(root) if inner else [root]
                for folder in (folder for parent in parents for folder in _folders(parent)):
                    if folder.name not in held and not any(p.label == folder.name for p in split):
                        told = f"the class folder {folder} holds no {self.thing}; add some, or delete the folder"
                        raise refuse(f"{told}{self._meant(folder)}")

    def _refuse_strangers(self, roots: Sequence[dict[str, Path]]) -> None:
        """Refuse files in a folder beside those of the sites that has neither split."""
        sites = {site for found in roots for site in found}
        for folder in _folders(self.folder) if "" not in sites else ():
            if folder.name not in sites:
                for parts in _files(folder):
                    if Path(parts[-1]).suffix.lower() in self.endings:
                        place, split = folder.joinpath(*parts), self.config.train_split
                        raise refuse(f"{place} belongs to no split; put it into {folder.name}/{split}/CLASS")

    def _meant(self, folder: Path) -> str:
        """A remedy where a class folder without a sample holds something else; empty where none is known."""
        return ""


@dataclass(frozen=True)
class ImageFolder(ClassFolder):
    """The data set of a folder of pictures, classes and files in alphabetical order."""

    thing: ClassVar[str] = "picture"
    endings: ClassVar[tuple[str, ...]] = PICTURES
    passed_over: ClassVar[tuple[str, ...]] = NO_DATA

    def read(self, place: Path | None = None) -> RawData:
        """All of it."""
        labels, fit = self.read_labels(), Fit.of(self.config)
        train, test = (
            stack(self.name, (decoded(p.path, str(p.path)) for p in split), len(split), fit, place, name)
            for split, name in zip(self._splits, ("train", "test"), strict=True)
        )
        train, test = same_channels(train, test, place)
        return checked(labels, Given(train), Given(test), self.config, place)

    def _meant(self, folder: Path) -> str:
        texts = any(path.suffix.lower() == ".txt" for path in folder.iterdir())
        return f"; it holds .txt files: {REMEDY}" if texts else ""


def site_folders(folder: Path, split: str) -> dict[str, Path]:
    """The folders `SITE/<split>` by site, in alphabetical order."""
    return {site.name: site / split for site in _folders(folder) if (site / split).is_dir()}


def without_columns(config: Data, what: str, groups: str = "") -> None:
    """Refuse column names for a source that has no columns.

    Args:
        config: the section `data`.
        what: the source, in words.
        groups: the group column that it has all the same; empty: none.

    Raises:
        ScenarioError: naming the key of the column.
    """
    for key in ("input_column", "target_column", "group_columns"):
        value = getattr(config, key)
        if value and not (groups and value == [groups]):
            only = f" but {groups!r}" if groups and key == "group_columns" else ""
            raise refuse(f"has no effect: {what} has no columns{only}; remove it", f"data.{key}")


def _texts(samples: Sequence[Sample], key: str) -> NDArray[np.str_]:
    return np.array([getattr(sample, key) for sample in samples], np.str_)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(root: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The files beneath a folder, as the parts of their paths; hidden names are passed over."""
    with os.scandir(root.joinpath(*above)) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(root, (*above, entry.name))
            else:
                yield (*above, entry.name)
