"""Data sets of arrays: in one .npz file, or in a folder of .npy files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.data.digests import stamp
from fedlt.data.inputs import Given
from fedlt.data.kind_of import built_in, chosen
from fedlt.data.npz import BROKEN, extracted, opened
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels, stratum
from fedlt.data.split_share import check_share, cut
from fedlt.data.tables import columns_of

if TYPE_CHECKING:
    from fedlt.config.sections import Data


BESIDE = ("mask", "categories")
"""Arrays that belong to the inputs, by the beginning of their names, in the order of the fields of `Given`."""

RENAME = (
    "; save them under these names (a single set as x and y, with data.test_share=0.2), or name yours in "
    "data.input_column and data.target_column"
)


@dataclass(frozen=True)
class Npz:
    """Arrays `x_train, y_train, x_test, y_test`; further columns `NAME_train` (and `NAME_test`) are groups.

    Beside inputs may stand `mask_train` [N, L] (which steps of sequences are real), `categories_train` [N, G] (of rows
    of numbers), the same for the test set, and `vocabulary` (how many tokens there are).

    Other columns and splits: `<input_column>_<train_split>` and so on. `class_names` is taken where it is there,
    and `targets`, the name of the kind of labels (`fedlt ls targets`). Also
    read are MedMNIST's `train_images, train_labels, test_images, test_labels`, and, with `data.test_share`, files
    without a test set (`x_train, y_train`, or `x, y`).
    """

    config: Data
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    def identity(self) -> list[Any]:
        """What decides the arrays: the file and the columns."""
        return [stamp([self.path]), columns_of(self.config)]

    def read(self, place: Path | None = None) -> RawData:
        """All of it."""
        labels, rows = self._labels()
        train = self._given(self._train, place, "train")
        if rows is None:
            return checked(labels, train, self._given(self._test, place, "test"), self.config, place)

        arrays = {"inputs": train.x, "mask": train.mask, "categories": train.categories}
        for what, array in arrays.items():
            if array is not None:
                self._refuse_lengths(array, sum(map(len, rows)), what)
        return checked(labels, train.at(rows[0], place, "kept"), train.at(rows[1], place, "held"), self.config, place)

    def _given(self, suffix: str, place: Path | None, split: str) -> Given:
        """One split's inputs, with what stands beside them."""
        key = self._inputs(suffix)
        beside = self._arrays([], [*(name + suffix for name in BESIDE), "vocabulary"])
        arrays = {key: self._large(key, place, split)} | beside
        size = arrays.get("vocabulary")
        if size is not None and (size.ndim > 1 or (not size.ndim and size.dtype.kind not in "iu")):
            raise refuse(f"{self.path}: vocabulary must be the number of tokens, or a list of them")
        vocabulary = None if size is None else len(size) if size.ndim else int(size)
        mask, categories = (arrays.get(name + suffix) for name in BESIDE)
        return Given(arrays[key], mask, categories, vocabulary)

    def read_labels(self) -> RawLabels:
        """Labels and group columns; the inputs are not read."""
        return self._labels()[0]

    def _labels(self) -> tuple[RawLabels, tuple[NDArray[np.int64], NDArray[np.int64]] | None]:
        """The labels, and the rows of the one split that became the training and the test set; None for two splits."""
        config, train, test = self.config, self._train, self._test
        targets = [self._targets(suffix) for suffix in (train, test)]
        check_share(config.test_share, str(self.path), config.test_split, self._has_test)
        self._expect_test_set()
        needed = targets[: 2 if self._has_test else 1]
        named = [column + train for column in config.group_columns]
        arrays = self._arrays([*needed, *named], ["class_names", "targets"])
        y = [_single(arrays[key]) for key in needed]
        groups = config.group_columns or self._group_columns(train, y[0].shape[:1])
        columns = self._arrays([g + train for g in groups], optional=[g + test for g in groups])
        names = arrays.get("class_names", np.zeros(0, np.str_))
        if names.ndim != 1:
            raise refuse(f"{self.path}: class_names must be one text per class, got shape {list(names.shape)}")
        if config.target_column is not None:
            names = names[:0]  # they name the classes of y

        texts = [str(name) for name in names]
        kind = chosen(config)
        if kind is None and "targets" in arrays:
            kind = built_in(str(arrays["targets"]))
        by_row = {g: columns[g + train] for g in groups}
        if config.test_share is None:
            tested = {g: columns[g + test] for g in groups if g + test in columns}
            return checked_labels(self.name, y[0], y[1], by_row, tested, texts, kind), None

        rows = cut(stratum(self.name, y[0], texts, kind), config.test_share)
        for g, values in by_row.items():
            self._refuse_lengths(values, len(y[0]), f"group column {g!r}")
        train_groups, test_groups = ({g: values[part] for g, values in by_row.items()} for part in rows)

        return checked_labels(self.name, y[0][rows[0]], y[0][rows[1]], train_groups, test_groups, texts, kind), rows

    @property
    def _train(self) -> str:
        """What the names of the training arrays end with: nothing in a file of a single set."""
        suffix = f"_{self.config.train_split}"
        bare = {self._inputs(""), self._targets("")} <= set(self._keys)
        alone = bare and self.config.test_share is not None and self._targets(suffix) not in self._keys
        return "" if alone else suffix

    @property
    def _test(self) -> str:
        return f"_{self.config.test_split}"

    @property
    def _has_test(self) -> bool:
        """Whether anything of a test set is there; without `data.test_share` one is needed, so what lacks is named."""
        names = {self._inputs(self._test), self._targets(self._test)}
        return self.config.test_share is None or bool(names & set(self._keys))

    def _expect_test_set(self) -> None:
        """Refuse a training set, or a single one, where nothing of a test set is there and no share asked for."""
        for suffix in (self._train, ""):
            whole = {self._inputs(suffix), self._targets(suffix)} <= set(self._keys)
            tested = {self._inputs(self._test), self._targets(self._test)} & set(self._keys)
            if whole and not tested:
                there = f"has {self._inputs(suffix)} and {self._targets(suffix)}, and no test set"
                lacks = f"{there} ({self._inputs(self._test)}, {self._targets(self._test)})"
                check_share(self.config.test_share, str(self.path), self.config.test_split, False, lacks)
                return

    def _inputs(self, suffix: str) -> str:
        return self._named("data.input_column", self.config.input_column, "x", "images", suffix)

    def _targets(self, suffix: str) -> str:
        return self._named("data.target_column", self.config.target_column, "y", "labels", suffix)

    def _named(self, key: str, column: str | list[str] | None, usual: str, medmnist: str, suffix: str) -> str:
        """The array's name: as the scenario says, as usual, or as MedMNIST has it where the file does."""
        if isinstance(column, list):
            raise refuse("an .npz file has one array of each; name it, not a list", key)
        other = f"{suffix.removeprefix('_')}_{medmnist}"
        usual_there = f"{usual}{suffix}" in self._keys
        return other if column is None and not usual_there and other in self._keys else f"{column or usual}{suffix}"

    def _refuse_lengths(self, array: NDArray[Any], rows: int, what: str = "inputs") -> None:
        if array.shape[:1] != (rows,):
            raise refuse(f"{self.path}: {what} of shape {list(array.shape)} for {rows} labels")

    def _group_columns(self, suffix: str, shape: tuple[int, ...]) -> list[str]:
        """Columns beside the inputs and the labels that have one whole number or text for each row;

        Arrays named x... are other inputs: they are passed over by name, because reading them only to see their
        shape would be slow.

        Args:
            shape: the labels'.
        """
        used = {self._inputs(suffix), self._targets(suffix), "class_names", *(name + suffix for name in BESIDE)}
        candidates = [key for key in self._keys if key.endswith(suffix) and key not in used and not key.startswith("x")]
        arrays = self._arrays(candidates)
        fitting = [key for key in candidates if arrays[key].shape == shape and arrays[key].dtype.kind in "iubU"]
        return [key.removesuffix(suffix) for key in fitting]

    @cached_property
    def _keys(self) -> list[str]:
        return list(self._open([], []))

    def _arrays(self, needed: list[str], optional: list[str] | None = None) -> dict[str, NDArray[Any]]:
        """Arrays of the file by name.

        Args:
            needed: those that must be there.
            optional: those that may be.
        """
        missing = [key for key in needed if key not in self._keys]
        if missing:
            what = f"lacks the {'array' if len(missing) == 1 else 'arrays'} {', '.join(missing)}"
            usual = {named(suffix) for named in (self._inputs, self._targets) for suffix in (self._train, self._test)}
            remedy = RENAME if usual & set(missing) else ""
            raise refuse(f"{self.path} {what}; it has: {', '.join(self._keys)}{remedy}")
        arrays = self._open(needed, optional or [])
        return {key: array for key, array in arrays.items() if array is not None}

    def _open(self, needed: list[str], optional: list[str]) -> dict[str, NDArray[Any] | None]:
        """Every key of the file, with its array where that was asked for."""
        wanted = {*needed, *optional}
        with opened(self.path, refuse, wanted) as content:
            return {key: content[key] if key in wanted else None for key in content.files}

    def _large(self, key: str, place: Path | None, split: str) -> NDArray[Any]:
        """An array of inputs, unpacked into a file of `place` and mapped from there where it is large."""
        if key not in self._keys or place is None:
            return self._arrays([key])[key]
        return extracted(self.path, key, place / f"{split}_unpacked.npy", refuse)


@dataclass(frozen=True)
class NpyFolder(Npz):
    """The same arrays as files of their own, `x_train.npy` and so on; large inputs are read piece by piece."""

    @classmethod
    def fits(cls, config: Data, folder: Path) -> bool:
        """Whether a folder holds such files: the training labels, or those of a single set, by their name."""
        reader = cls(config, folder)
        names = {reader._targets(f"_{config.train_split}"), reader._targets("")}
        return bool(names & set(reader._keys))

    @property
    def name(self) -> str:
        return self.path.name

    def identity(self) -> list[Any]:
        """What decides the arrays: the files and the columns."""
        return [stamp(sorted(self.path.glob("*.npy"))), columns_of(self.config)]

    def _open(self, needed: list[str], optional: list[str]) -> dict[str, NDArray[Any] | None]:
        wanted = {*needed, *optional}
        files = {path.stem: path for path in sorted(self.path.glob("*.npy"))}
        return {key: self._array(file, mapped=False) if key in wanted else None for key, file in files.items()}

    def _large(self, key: str, place: Path | None, split: str) -> NDArray[Any]:
        if key not in self._keys or place is None:
            return self._arrays([key])[key]
        return self._array(self.path / f"{key}.npy", mapped=True)

    @staticmethod
    def _array(file: Path, mapped: bool) -> NDArray[Any]:
        try:
            return np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)  # type: ignore[no-any-return]
        except BROKEN as error:
            raise refuse(f"{file} is not a readable .npy file of plain values: {error}") from error


def _single(labels: NDArray[Any]) -> NDArray[Any]:
    """A column of labels, [N, 1] as MedMNIST has them, as [N]; all others as they are."""
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
