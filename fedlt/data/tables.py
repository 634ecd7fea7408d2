"""Data sets in Hugging Face's `datasets` form: parquet files in a folder, or the hub itself.

Pictures are decoded by `datasets`, so that a folder of parquet files and the hub take the same path.
"""

from __future__ import annotations

import os
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.digests import stamp
from fedlt.data.images import same_channels, stack
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels, refuse

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

    from fedlt.scenario import Data

TARGETS = ("label", "labels", "fine_label", "target", "y", "class")  # names of label columns, likeliest first
PROBE_SECONDS = 1.5
CHUNK = 512  # rows decoded at a time


@dataclass(frozen=True)
class ParquetFolder:
    """Parquet files of two splits, as the hub stores them."""

    config: Data
    folder: Path
    train_files: tuple[Path, ...]
    test_files: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.folder.name

    def identity(self) -> list[Any]:
        """What decides the arrays: the files and the columns."""
        return [stamp([*self.train_files, *self.test_files]), columns_of(self.config)]

    def read(self) -> RawData:
        """All of it."""
        with self._open() as (train, test):
            return _data(self.name, train, test, self.config)

    def read_labels(self) -> RawLabels:
        """Labels and group columns; no picture is read."""
        import pyarrow.parquet
        from datasets import Features

        try:
            features = Features.from_arrow_schema(pyarrow.parquet.read_schema(self.train_files[0]))
        except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
            raise refuse(f"{self.folder} is not readable as parquet: {error}") from error
        with self._open([_target(self.name, features, self.config), *self.config.group_columns]) as (train, test):
            return _labels(self.name, train, test, self.config)

    @contextmanager
    def _open(self, columns: Sequence[str] | None = None) -> Iterator[tuple[Dataset, Dataset]]:
        import datasets

        files = {"train": [str(f) for f in self.train_files], "test": [str(f) for f in self.test_files]}
        # The Arrow copy that `datasets` makes is of no use once the arrays stand in the cache.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, _quiet():
            try:
                both = datasets.load_dataset("parquet", data_files=files, columns=columns, cache_dir=scratch)
            except Exception as error:
                raise refuse(f"{self.folder} is not readable as parquet: {error}") from error
            yield both["train"], both["test"]


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub, or of its local cache. hub_name: as in `uoft-cs/cifar10`."""

    config: Data
    hub_name: str

    @property
    def name(self) -> str:
        return self.config.name

    def identity(self) -> list[Any]:
        """What decides the arrays: the revision, which the path of the hub's own Arrow files holds, and the columns."""
        folders = {Path(entry["filename"]).parent for split in self._splits for entry in split.cache_files}
        revisions = sorted(map(_revision, folders))
        return [{self.hub_name: ", ".join(revisions)}, columns_of(self.config)]

    def revisions(self) -> list[str]:
        """What lies in the hub's local cache, the newest last. Neither the hub nor the files are asked."""
        found = [path.parent for path in _in_hub_cache(self.hub_name).glob("*/*/*/dataset_info.json")]
        return [_revision(path) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def read(self) -> RawData:
        """All of it."""
        with _quiet():
            return _data(self.name, *self._splits, self.config)

    def read_labels(self) -> RawLabels:
        """Labels and group columns; no picture is decoded."""
        return _labels(self.name, *self._splits, self.config)

    @cached_property
    def _splits(self) -> tuple[Dataset, Dataset]:
        offline = _told_offline() or not _reachable()
        if offline and not _in_hub_cache(self.hub_name).is_dir():
            raise refuse(unavailable(self.name, f"the hub cannot be reached and its cache lacks {self.hub_name}"))
        import datasets

        before = datasets.config.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = offline  # else minutes of retries before it looks into its cache
        try:
            with _quiet():
                both = datasets.load_dataset(self.hub_name)
        except Exception as error:
            raise refuse(unavailable(self.name, f"the hub answers for {self.hub_name}: {error}")) from error
        finally:
            datasets.config.HF_HUB_OFFLINE = before
        for key in ("train_split", "test_split"):
            if getattr(self.config, key) not in both:
                message = f"{self.hub_name} has no split {getattr(self.config, key)!r}; it has: {', '.join(both)}"
                raise refuse(message, f"data.{key}")
        return both[self.config.train_split], both[self.config.test_split]


def unavailable(name: str, reason: str) -> str:
    """The message for a data set that was not found, with the ways to provide it."""
    return (
        f"{name!r} was not found ({reason}). Give it in one of three ways: data.name as the path of an .npz file or a "
        f"folder; a file {name}.npz or a folder {name} in the folder that $FEDLT_DATA names; or a name of the "
        "Hugging Face hub, with a network or with the set in its local cache"
    )


def columns_of(config: Data) -> list[Any]:
    """The configuration's part of a source's identity."""
    return [
        config.input_column,
        config.target_column,
        list(config.group_columns),
        config.train_split,
        config.test_split,
    ]


def _told_offline() -> bool:
    told = (os.environ.get(key, "") for key in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in told)


def _reachable() -> bool:
    """Whether the hub answers in `PROBE_SECONDS`; in a thread, since looking up a name knows no time limit."""
    answers: list[bool] = []
    probe = threading.Thread(target=lambda: answers.append(_answers()), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return answers == [True]


def _answers() -> bool:
    request = urllib.request.Request(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # an error page is an answer
    except (OSError, ValueError):
        return False
    return True


def _in_hub_cache(hub_name: str) -> Path:
    """The data set's folder in the hub's local cache, there or not."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    root = Path(os.environ.get("HF_DATASETS_CACHE") or Path(home) / "datasets").expanduser()
    wanted = hub_name.replace("/", "___").lower()
    there = root.iterdir() if root.is_dir() else ()
    return next((f for f in there if f.name.lower() in (wanted, wanted.replace("-", "_"))), root / wanted)


def _revision(folder: Path) -> str:
    """Configuration, version and hash of a data set, as in `plain_text/0.0.0/0b27...`: they end its folder's path."""
    return "/".join(folder.parts[-3:])


@contextmanager
def _quiet() -> Iterator[None]:
    import datasets

    shown, level = datasets.is_progress_bar_enabled(), datasets.utils.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)  # our own message says what is wrong
    try:
        yield
    finally:
        datasets.utils.logging.set_verbosity(level)
        if shown:
            datasets.enable_progress_bars()


def _data(name: str, train: Dataset, test: Dataset, config: Data) -> RawData:
    labels = _labels(name, train, test, config)
    column = _input(name, train.features, config)
    if column not in test.features:
        raise refuse(f"{name}: the test set has no column {column!r}", "data.input_column")
    if not _is_picture(train.features[column]):
        return checked(labels, _rows(name, train, column), _rows(name, test, column))
    return checked(labels, *same_channels(_pictures(name, train, column), _pictures(name, test, column)))


def _labels(name: str, train: Dataset, test: Dataset, config: Data) -> RawLabels:
    target = _target(name, train.features, config)
    for split, table in (("training", train), ("test", test)):
        for key, columns in (("target_column", [target]), ("group_columns", config.group_columns)):
            for column in columns:
                if column not in table.features:
                    known = ", ".join(table.features)
                    raise refuse(f"{name}: the {split} set has no column {column!r}; it has: {known}", f"data.{key}")
    groups, test_groups = ({c: np.asarray(table[c][:]) for c in config.group_columns} for table in (train, test))
    y_train, y_test = np.asarray(train[target][:]), np.asarray(test[target][:])
    names = getattr(train.features[target], "names", ())
    return checked_labels(name, y_train, y_test, groups, test_groups, names)


def _target(name: str, features: Any, config: Data) -> str:
    if config.target_column is not None:
        return config.target_column
    import datasets

    coded: list[str] = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    named = [column for column in TARGETS if column in features]
    if len(coded) != 1 and not named:
        message = f"{name}: no column is plainly the label; name one of {', '.join(features)}"
        raise refuse(message, "data.target_column")
    return coded[0] if len(coded) == 1 else named[0]


def _input(name: str, features: Any, config: Data) -> str:
    if config.input_column is not None:
        if config.input_column not in features:
            message = f"{name} has no column {config.input_column!r}; it has: {', '.join(features)}"
            raise refuse(message, "data.input_column")
        return config.input_column
    pictures: list[str] = [column for column, feature in features.items() if _is_picture(feature)]
    if len(pictures) != 1:
        message = f"{name}: expected one column of pictures, found {len(pictures)}; name one of {', '.join(features)}"
        raise refuse(message, "data.input_column")
    return pictures[0]


def _is_picture(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _pictures(name: str, table: Dataset, column: str) -> NDArray[np.uint8]:
    import datasets

    table = table.select_columns([column]).cast_column(column, datasets.Image())

    def decoded() -> Iterator[Image]:
        for start in range(0, len(table), CHUNK):
            try:
                yield from table[start : start + CHUNK][column]
            except (OSError, ValueError) as error:
                rows = f"rows {start}..{min(start + CHUNK, len(table)) - 1}"
                raise refuse(f"{name}: a picture in {rows} of {column!r} is not readable: {error}") from error

    return stack(name, decoded(), len(table))


def _rows(name: str, table: Dataset, column: str) -> NDArray[Any]:
    try:
        return np.asarray(table[column][:])
    except ValueError as error:
        raise refuse(f"{name}: column {column!r} holds neither pictures nor feature rows of one length") from error
