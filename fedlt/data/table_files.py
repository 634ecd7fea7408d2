"""Tables in files of one's own: Parquet, CSV, JSON lines, or what `datasets` wrote by `save_to_disk`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedlt.data.coding import refuse
from fedlt.data.digests import stamp
from fedlt.data.raw import RawData, RawLabels
from fedlt.data.split_share import check_share
from fedlt.data.table_columns import cut_table, read_data, read_labels, target_columns
from fedlt.data.tables import columns_of, quiet
from fedlt.data.utf8 import check_utf8
from fedlt.errors import ScenarioError

if TYPE_CHECKING:
    from datasets import Dataset

    from fedlt.config.sections import Data

Kind = Literal["parquet", "csv", "jsonl", "saved"]
ENDINGS: dict[Kind, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "csv": (".csv", ".tsv"),
    "jsonl": (".jsonl", ".ndjson"),
    "saved": (),
}
CALLED: dict[Kind, str] = {
    "parquet": "parquet",
    "csv": "CSV",
    "jsonl": "JSON lines",
    "saved": "a table that datasets saved",
}
STATE = "state.json"  # what `save_to_disk` writes beside the Arrow files


@dataclass(frozen=True)
class Split:
    """The files of one split; for `saved`, the folder's."""

    kind: Kind
    files: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        return self.files[0].parent


@dataclass(frozen=True)
class TableFiles:
    """A data set in table files.

    Attributes:
        place: what messages call it.
        test: None where there is no test split.
    """

    config: Data
    name: str
    place: str
    train: Split
    test: Split | None

    def identity(self) -> list[Any]:
        """What decides the arrays: the files and the columns."""
        return [stamp([*self.train.files, *(self.test.files if self.test else ())]), columns_of(self.config)]

    def read(self, place: Path | None = None) -> RawData:
        """All of it."""
        with self._open() as (train, test):
            return read_data(self.name, train, test, self.config, place)

    def read_labels(self) -> RawLabels:
        """Labels and group columns; no picture is read."""
        with self._open(labels_only=True) as (train, test):
            return read_labels(self.name, train, test, self.config)

    @contextmanager
    def _open(self, labels_only: bool = False) -> Iterator[tuple[Dataset, Dataset]]:
        share = self.config.test_share
        check_share(share, self.place, self.config.test_split, self.test is not None)
        # The Arrow copy that `datasets` makes is of no use once the arrays stand in the cache.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, quiet():
            columns = [*self.config.group_columns] if labels_only else None
            if columns is not None:
                columns.extend(target_columns(self.name, self._features(), self.config))
            tables = [self._table(part, scratch, columns) for part in (self.train, self.test) if part is not None]
            train, test = cut_table(self.name, tables[0], self.config) if share is not None else tables
            yield train, test

    def _features(self) -> Any:
        """The columns of the training split, by name."""
        from datasets import Features

        if self.train.kind == "parquet":
            import pyarrow.parquet

            try:
                return Features.from_arrow_schema(pyarrow.parquet.read_schema(self.train.files[0]))
            except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
                raise self._unreadable(self.train, error) from error
        return self._table(self.train, "", None).features

    def _table(self, split: Split, scratch: str, columns: Sequence[str] | None) -> Dataset:
        import datasets

        files = [str(path) for path in split.files]
        try:
            if split.kind == "csv":
                return _read_csv(split.files, texts=self.config.tokenizer is not None)
            if split.kind == "jsonl":
                return _read_jsonl(split.files)
            if split.kind == "saved":
                return datasets.load_from_disk(str(split.folder))
            import pyarrow.parquet

            there = set(pyarrow.parquet.read_schema(files[0]).names)
            wanted = columns if columns is not None and there.issuperset(columns) else None  # else told by name
            # Each split on its own: the test set may have further columns.
            both = datasets.load_dataset("parquet", data_files={"rows": files}, columns=wanted, cache_dir=scratch)
            return both["rows"]
        except ScenarioError:
            raise
        except Exception as error:
            raise self._unreadable(split, error) from error

    def _unreadable(self, split: Split, error: BaseException) -> Exception:
        """With the innermost cause: what `datasets` says itself is only that something went wrong."""
        while error.__cause__ is not None:
            error = error.__cause__
        cause = " ".join(str(error).split()) or type(error).__name__
        names = split.files[0].name + (f" and {len(split.files) - 1} more" if len(split.files) > 1 else "")
        return refuse(f"{self.place} is not readable as {CALLED[split.kind]} ({names}): {cause}")


def split_files(folder: Path, split: str, *kinds: Kind) -> Split | None:
    """The files of a split: `train.parquet`, numbered parts of it, or the files in a folder `train`.

    A name that only begins with the split's (`train_small.parquet`) is another split.

    Raises:
        ScenarioError: where several folders hold one.
    """
    for kind in kinds:
        if kind == "saved":
            place = folder / split
            if (place / STATE).is_file():
                return Split(
                    kind, tuple(sorted(path for path in place.iterdir() if path.suffix in (".arrow", ".json")))
                )
            continue
        named = re.compile(rf"{re.escape(split)}([-_.]?\d+(-of-\d+)?(-[0-9a-f]+)?)?")

        def fitting(place: Path, kind: Kind = kind, named: re.Pattern[str] = named) -> list[Path]:
            files = (path for path in place.glob("*") if path.suffix.lower() in ENDINGS[kind])
            return sorted(path for path in files if named.fullmatch(path.stem))

        within = sorted((folder / split).glob("*.parquet")) if kind == "parquet" else []
        for files in (fitting(folder), within, fitting(folder / "data")):
            if files:
                return Split(kind, tuple(files))
        if kind == "parquet":
            others = {place: files for place in sorted(folder.glob("*/")) if (files := fitting(place))}
            if len(others) > 1:
                names = ", ".join(place.name for place in others)
                raise refuse(f"{folder} holds {split!r} in several folders ({names}); give one of them as data.name")
            for files in others.values():
                return Split(kind, tuple(files))
    return None


def single_file(config: Data, path: Path) -> TableFiles:
    """The reader of one table without a test set."""
    kind: Kind = next(kind for kind, endings in ENDINGS.items() if path.suffix.lower() in endings)
    return TableFiles(config, path.stem, str(path), Split(kind, (path,)), None)


def _read_csv(files: Sequence[Path], texts: bool) -> Dataset:
    """Texts stay texts: a class that is called NA or None is no missing value.

    Args:
        texts: quoted cells may have line breaks, and be longer than what is read at a time.
    """
    import datasets
    import pyarrow as pa
    from pyarrow import csv

    tables = []
    for path in files:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=texts)
        read = csv.ReadOptions(block_size=_whole(path) if texts else None)
        tables.append(csv.read_csv(path, read, parse))
        if any(map(pa.types.is_binary, tables[-1].schema.types)):  # what pyarrow makes of texts that are no UTF-8
            check_utf8(path)
        if tables[-1].num_columns == 1 and ";" in tables[-1].column_names[0]:
            raise ValueError("its columns are separated by semicolons; write it with commas")
    return datasets.Dataset(datasets.table.InMemoryTable(pa.concat_tables(tables, promote_options="permissive")))


def _read_jsonl(files: Sequence[Path]) -> Dataset:
    """One object a line."""
    import datasets
    import pyarrow as pa
    from pyarrow import json

    tables = []
    for path in files:
        check_utf8(path)  # pyarrow lets other bytes pass
        tables.append(json.read_json(path, json.ReadOptions(block_size=_whole(path))))
    return datasets.Dataset(datasets.table.InMemoryTable(pa.concat_tables(tables, promote_options="permissive")))


def _whole(path: Path) -> int:
    """Bytes to be read at a time, so that no row is longer: those of the file."""
    return min(max(path.stat().st_size, 2**20), 2**31 - 1)
