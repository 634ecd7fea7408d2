"""Finds a data set by name and reads it, once: the decoded arrays are kept in the cache.

Looked for in this order: a path (an .npz file, a table or a folder); `$FEDLT_DATA/NAME.npz` or `$FEDLT_DATA/NAME/`; the
built-in `digits`; the Hugging Face hub.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fedlt.data.cache import Entry
from fedlt.data.files import Npz, folder_source
from fedlt.data.image_folder import without_columns
from fedlt.data.known import ENCODED, KNOWN, Known
from fedlt.data.raw import RawData, RawLabels, checked, checked_labels, refuse
from fedlt.data.table_files import ENDINGS, single_file
from fedlt.data.tables import Hub, columns_of
from fedlt.data.test_share import check_share

if TYPE_CHECKING:
    from fedlt.scenario import Data

DIGITS_TEST = 30  # test pictures of each class


class Source(Protocol):
    """A place that a data set can be read from."""

    @property
    def name(self) -> str:
        """Short name, for messages and for the cache."""

    def identity(self) -> list[Any]:
        """Everything that decides the arrays, as JSON."""

    def read(self) -> RawData:
        """The data set."""

    def read_labels(self) -> RawLabels:
        """Its labels and group columns, without touching the inputs."""


@dataclass(frozen=True)
class Digits:
    """1,797 gray 8x8 digits that come with scikit-learn; the last 30 of each class are the test set."""

    config: Data
    name: str = "digits"

    def identity(self) -> list[Any]:
        """The data never change; the columns are there so that naming one is refused however often it is tried."""
        return ["scikit-learn digits", DIGITS_TEST, columns_of(self.config)]

    def read(self) -> RawData:
        """All of it: values 0..16 are scaled to 0..255."""
        from sklearn.datasets import load_digits

        without_columns(self.config, "the built-in set digits")
        for key in ("train_split", "test_split"):
            if getattr(self.config, key) != key.removesuffix("_split"):
                raise refuse("digits has the splits train and test; remove it", f"data.{key}")
        check_share(self.config.test_share, "digits", "test", found=True)
        bunch = load_digits()
        images, y = np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target
        test = np.sort(np.concatenate([np.flatnonzero(y == digit)[-DIGITS_TEST:] for digit in range(10)]))
        train = np.setdiff1d(np.arange(len(y)), test)
        return checked(checked_labels(self.name, y[train], y[test], {}, {}), images[train], images[test])

    def read_labels(self) -> RawLabels:
        """Labels alone."""
        return self.read().labels()


@dataclass(frozen=True)
class Unmade:
    """Features of a frozen encoder that are not on this machine: whatever is asked, the answer is how to make them."""

    config: Data

    @property
    def name(self) -> str:
        return self.config.name

    def identity(self) -> list[Any]:
        """Raises `ScenarioError`."""
        pictures = self.name.removesuffix(ENCODED)
        raise refuse(
            f"{self.name!r} was not found ($FEDLT_DATA names the folder that holds {self.name}.npz). It is made of the "
            f"pictures of {pictures!r} in some minutes, in a checkout of FedLT: "
            f"python -m benchmarks.features {pictures} --to $FEDLT_DATA"
        )

    def read(self) -> RawData:
        """Raises `ScenarioError`."""
        raise AssertionError(self.identity())

    def read_labels(self) -> RawLabels:
        """Raises `ScenarioError`."""
        raise AssertionError(self.identity())


def load(config: Data, cache_dir: Path | str | None = None) -> RawData:
    """The data set, inputs memory-mapped from the cache.

    cache_dir: where decoded sets are kept; None for `$FEDLT_CACHE`, else `~/.cache/fedlt`. A cache that cannot be
    written costs a warning. Raises `ScenarioError` for a set that is not found or not usable.
    """
    source = _find(config)
    entry = Entry.of(cache_dir, source.name, source.identity())
    return entry.data() or entry.store(source.read())


def labels(config: Data, cache_dir: Path | str | None = None) -> RawLabels:
    """The labels and group columns of the data set; inputs are neither decoded nor needed.

    Where a well-known set is not on this machine, its labels are made from public class counts. Raises
    `ScenarioError` for a set that is not found or not usable.
    """
    source = _find(config)
    known = _known(config)
    if isinstance(source, Hub | Unmade) and known is not None:
        return known.labels(config.name)
    return Entry.of(cache_dir, source.name, source.identity()).labels() or source.read_labels()


def _known(config: Data) -> Known | None:
    """The well-known set, pictures or their features, where its public class counts say all that is asked for."""
    known = KNOWN.get(config.name.removesuffix(ENCODED))
    suffices = (
        known is not None
        and config.target_column in (None, known.target)
        and not config.group_columns
        and config.test_share is None
        and (config.train_split, config.test_split) == ("train", "test")
    )
    return known if suffices else None


def _find(config: Data) -> Source:
    name = config.name
    path = Path(name).expanduser()
    built_in = name == "digits" or name in KNOWN
    if name.endswith(".npz") or (path.exists() and not built_in):
        return _at(config, path)
    if root := os.environ.get("FEDLT_DATA"):
        for candidate in (Path(root).expanduser() / f"{name}.npz", Path(root).expanduser() / name):
            if candidate.exists():
                return _at(config, candidate)
    if name == "digits":
        return Digits(config)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise refuse(f"no such file or folder: {path.absolute()} (a path in a scenario file starts at its folder)")
    if name.endswith(ENCODED):
        return Unmade(config)
    if name in KNOWN:
        known = KNOWN[name]
        return Hub(replace(config, target_column=config.target_column or known.target), known.hub)
    return Hub(config, name)


def _at(config: Data, path: Path) -> Source:
    if path.is_dir():
        return folder_source(config, path.resolve())
    if not path.is_file():
        raise refuse(f"no such file: {path.absolute()}")
    if path.suffix.lower() in (*ENDINGS["parquet"], *ENDINGS["csv"]):
        return single_file(config, path.resolve())
    if path.suffix != ".npz":
        raise refuse(f"{path} is neither a folder nor an .npz, .csv, .tsv or .parquet file")
    return Npz(config, path.resolve())
