"""Pictures that a file lists, beside the folder that holds them.

`data.train_split` and `data.test_split` name the file, as found from the folder `data.name`:

    ImageNet_LT_train.txt     "PATH LABEL" a line, as the authors of ImageNet-LT and Places-LT publish it
    train2018.json            COCO's form, as of iNaturalist and of camera traps: images, annotations, categories
    meta.csv                  a table with a column of paths, one of labels, and others
    meta.csv:train            its rows whose column `split` says train

Paths start at the folder. Labels are texts or numbers, from whatever they begin. `data.group_columns` takes columns of
the table, or fields of a JSON file's images such as `location`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import coded, ordered, refuse
from fedlt.data.digests import stamp
from fedlt.data.image_folder import PICTURES
from fedlt.data.inputs import Given
from fedlt.data.inputs.pictures import Fit, decoded, same_channels, stack
from fedlt.data.kind_of import chosen
from fedlt.data.published import PUBLISHED
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels
from fedlt.data.split_share import check_share, cut
from fedlt.data.tables import columns_of
from fedlt.process.wording import counted

if TYPE_CHECKING:
    from fedlt.config.sections import Data

SPLIT = "split"
"""The column of a table by which `meta.csv:train` picks rows."""

PATHS = ("file", "file_name", "filename", "path", "image", "image_path", "img", "image_id")
LABELS = ("label", "labels", "class", "y", "target", "category_id", "dx")
_NAMED = re.compile(r"(?P<file>.+\.(?:txt|csv|json))(?::(?P<rows>.+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Listed:
    """One split.

    Attributes:
        paths, labels: [n], as the list has them.
        groups: [n] each.
        names: of the classes, by their label.
    """

    paths: NDArray[np.str_]
    labels: NDArray[np.str_]
    groups: dict[str, NDArray[np.str_]]
    names: dict[str, str]

    def at(self, rows: NDArray[np.int64]) -> Listed:
        """Some of the rows."""
        groups = {column: values[rows] for column, values in self.groups.items()}
        return replace(self, paths=self.paths[rows], labels=self.labels[rows], groups=groups)


@dataclass(frozen=True)
class PictureList:
    """The data set of lists of pictures, in the order of the lists.

    Attributes:
        folder: at which paths start.
    """

    config: Data
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def identity(self) -> list[Any]:
        """What decides the arrays: the lists, the pictures and the columns. Raises `ScenarioError`."""
        if missing := self._missing:
            total = sum(len(split.paths) for split in self._splits)
            told = f"{self.config.train_split} names {missing[0]}, which is not in {self.folder}"
            count = f"{len(missing)} of {total} pictures are missing"
            remedy = "put them there as the list names them, or change the paths in the list"
            raise refuse(f"{told} ({count}); {remedy}{self._where}")
        lists = {file for file, _ in map(self._named, self._split_names)}
        pictures = {_place(self.folder, path) for split in self._splits for path in split.paths}
        return [stamp(sorted(lists)), stamp(sorted(pictures)), columns_of(self.config)]

    def read(self, place: Path | None = None) -> RawData:
        """All of it."""
        labels, fit = self.read_labels(), Fit.of(self.config)
        splits = zip(self._splits, ("train", "test"), strict=True)
        train, test = (self._stacked(split, fit, place, name) for split, name in splits)
        train, test = same_channels(train, test, place)
        return checked(labels, Given(train), Given(test), self.config, place)

    def read_labels(self) -> RawLabels:
        """Labels and group columns; no picture is needed. The test list may lack group columns."""
        train, test = self._splits
        for column in self.config.group_columns:
            if column not in train.groups:
                raise refuse(f"{self.config.train_split} has no column {column!r}", "data.group_columns")
        kind = chosen(self.config)
        if not train.names or kind is not None:
            return checked_labels(self.name, train.labels, test.labels, train.groups, test.groups, kind=kind)
        known = ordered(train.labels)
        numbers = [coded(self.name, "labels", split.labels, known) for split in (train, test)]
        names = [train.names.get(label, label) for label in known]
        return checked_labels(self.name, numbers[0], numbers[1], train.groups, test.groups, names)

    @property
    def _where(self) -> str:
        """Where a published set comes from, at the end of a sentence."""
        known = PUBLISHED.get(self.config.name)
        return f"; {known.where(self.config.name)}" if known else ""

    @property
    def complete(self) -> bool:
        """Whether all pictures are there."""
        return not self._missing

    @cached_property
    def _missing(self) -> list[str]:
        """Paths of the lists that lead nowhere."""
        paths = (path for split in self._splits for path in split.paths)
        return [str(path) for path in paths if not _place(self.folder, path).is_file()]

    def _stacked(self, split: Listed, fit: Fit, place: Path | None, file: str) -> NDArray[np.uint8]:
        images = (decoded(_place(self.folder, path), str(path)) for path in split.paths)
        return stack(self.name, images, len(split.paths), fit, place, file)

    @property
    def _split_names(self) -> list[str]:
        config = self.config
        return [config.train_split, *([config.test_split] if config.test_share is None else [])]

    def _named(self, split: str) -> tuple[Path, str | None]:
        """The file of a split, and the rows of it that are meant; None for all."""
        match = _NAMED.fullmatch(split)
        path = self.folder / (match["file"] if match else split)
        if match is None or not path.is_file():
            key = "data.train_split" if split == self.config.train_split else "data.test_split"
            raise refuse(f"{self.folder} has no list {path.name!r} (.txt, .csv or .json){self._where}", key)
        return path.resolve(), match["rows"]

    @cached_property
    def _splits(self) -> list[Listed]:
        """The training and the test set."""
        config = self.config
        check_share(config.test_share, str(self.folder), config.test_split, names_a_list(config.test_split))
        splits = [_read(*self._named(split), config) for split in self._split_names]
        if config.test_share is None:
            _refuse_unknown(self.config.test_split, *splits)
            return splits
        return [splits[0].at(rows) for rows in cut(splits[0].labels, config.test_share)]


def names_a_list(split: str) -> bool:
    """Whether a split is a file that lists pictures, by its name."""
    return _NAMED.fullmatch(split) is not None


def lists_pictures(path: Path, config: Data) -> bool:
    """Whether a table's first row names a picture: by the ending, in the input column or one of `PATHS`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = next(csv.DictReader(file), {})
    except (OSError, ValueError, csv.Error):
        return False
    columns = [config.input_column] if isinstance(config.input_column, str) else PATHS
    return any(str(first.get(column)).lower().endswith(PICTURES) for column in columns)


def _place(folder: Path, path: str) -> Path:
    """Where a listed picture lies; a name without an ending is that of a .jpg, .jpeg or .png file."""
    place = folder / path
    if place.suffix:
        return place
    with_ending = [place.with_suffix(ending) for ending in (".jpg", ".jpeg", ".png")]
    return next((found for found in with_ending if found.is_file()), place)


def _read(path: Path, rows: str | None, config: Data) -> Listed:
    """What a list says.

    Raises:
        ScenarioError: with the file, and with the line where there are lines.
    """
    if rows is not None and path.suffix.lower() != ".csv":
        raise refuse(f"{path.name} has no columns to pick rows by; name the file without {rows!r}", "data.train_split")
    try:
        reader = {".txt": _lines, ".json": _coco, ".csv": _table}[path.suffix.lower()]
        columns, names = reader(path, config)
    except (OSError, ValueError, KeyError, TypeError, csv.Error, RecursionError) as error:
        raise refuse(f"{path} is no readable list of pictures: {type(error).__name__} {error}") from error

    kept = np.arange(len(columns[PATHS[0]]))
    if rows is not None:
        if SPLIT not in columns:
            raise refuse(f"{path} has no column {SPLIT!r} to pick the rows {rows!r} by", "data.train_split")
        kept = np.flatnonzero(np.array(columns[SPLIT], np.str_) == rows)
    if not len(kept):
        raise refuse(f"{path} lists no picture" + (f" whose {SPLIT} is {rows!r}" if rows is not None else ""))

    groups = [column for column in config.group_columns if column in columns]
    arrays = {name: np.array(columns[name], np.str_) for name in (PATHS[0], LABELS[0], *groups)}
    whole = Listed(arrays.pop(PATHS[0]), arrays.pop(LABELS[0]), arrays, names)
    return whole.at(kept)


def _refuse_unknown(test_split: str, train: Listed, test: Listed) -> None:
    """Refuse test pictures of classes that nobody can learn, with their number."""
    unknown = ~np.isin(test.labels, train.labels)
    if unknown.any():
        classes = np.unique(test.labels[unknown])
        held = counted(len(classes), "class", "classes")
        told = f"{unknown.sum()} of {len(unknown)} pictures of {test_split} are of {held}"
        raise refuse(f"{told} ({classes[0]} first) that the training list lacks; take their lines out of it")


Columns = dict[str, list[str]]


def _lines(path: Path, config: Data) -> tuple[Columns, dict[str, str]]:
    """A path and a label a line; a path may hold spaces."""
    paths, labels = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        parts = line.rsplit(maxsplit=1)
        if len(parts) != 2:
            raise refuse(f"{path} line {number} is {line.strip()[:60]!r}; expected PATH LABEL, as in train/cat/1.jpg 0")
        paths.append(parts[0].strip())
        labels.append(parts[1])
    return {PATHS[0]: paths, LABELS[0]: labels}, {}


def _table(path: Path, config: Data) -> tuple[Columns, dict[str, str]]:
    """A table of texts with a header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or ())
        columns: Columns = {name: [] for name in header}
        for row in reader:
            if None in row or None in row.values():
                raise refuse(f"{path} line {reader.line_num} has another number of columns than the header")
            for name in header:
                columns[name].append(row[name])

    found = {PATHS[0]: _column(path, header, config.input_column, PATHS, "data.input_column"),
             LABELS[0]: _column(path, header, config.target_column, LABELS, "data.target_column")}  # fmt: skip
    return columns | {name: columns[column] for name, column in found.items()}, {}


def _column(path: Path, header: Sequence[str], given: str | list[str] | None, usual: Sequence[str], key: str) -> str:
    """The column of that meaning: as the scenario says, else the first by its name."""
    if isinstance(given, list):
        raise refuse(f"{path} lists pictures with one label each; name one column, not a list", key)
    wanted = usual if given is None else [given]
    column = next((name for name in wanted if name in header), None)
    if column is None:
        raise refuse(f"{path} has no column {' or '.join(wanted)}; name one of {', '.join(header)}", key)
    return column


def _coco(path: Path, config: Data) -> tuple[Columns, dict[str, str]]:
    """Images with one category each, their other fields as columns; the names of categories, where they differ."""
    held = json.loads(path.read_text(encoding="utf-8"))
    category: dict[Any, Any] = {}
    for annotation in held["annotations"]:
        image, label = annotation["image_id"], annotation["category_id"]
        if category.setdefault(image, label) != label:
            raise refuse(f"{path}: image {image} has several categories, {category[image]} and {label}; list each once")

    images = [image for image in held["images"] if image["id"] in category]
    fields = [name for name, value in (images[0] if images else {}).items() if isinstance(value, str | int)]
    columns = {name: [str(image[name]) for image in images] for name in fields if all(name in i for i in images)}
    columns[PATHS[0]] = [str(image["file_name"]) for image in images]
    columns[LABELS[0]] = [str(category[image["id"]]) for image in images]

    names = {str(kind["id"]): str(kind["name"]) for kind in held.get("categories", ()) if "name" in kind}
    return columns, names if len(set(names.values())) == len(names) else {}
