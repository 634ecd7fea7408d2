"""Decoded data sets as plain `.npy` files, memory-mapped so that all processes of a machine share one copy.

    <cache>/<name>-<hash of the source>/{x_train,x_test,y_train,y_test,mean,std}.npy, meta.json, group columns

An entry is written to a folder of its own and then renamed, so that a reader never sees half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.raw import Groups, RawData, RawLabels

FORMAT = 2  # part of every entry's hash: to be raised when the files' meaning changes


def cache_folder(cache_dir: Path | str | None = None) -> Path:
    """Where things that are costly to make are kept: cache_dir, else `$FEDLT_CACHE`, else `~/.cache/fedlt`."""
    return Path(cache_dir or os.environ.get("FEDLT_CACHE") or "~/.cache/fedlt").expanduser()


@dataclass(frozen=True)
class Entry:
    """The place of one decoded data set, there or not."""

    folder: Path

    @classmethod
    def of(cls, cache_dir: Path | str | None, name: str, identity: Sequence[Any]) -> Entry:
        """The entry of a source, in the cache's folder (see `cache_folder`).

        identity: everything that decides the arrays, such as digests of files, and columns.
        """
        digest = hashlib.sha256(json.dumps([FORMAT, *identity]).encode()).hexdigest()[:16]
        return cls(cache_folder(cache_dir) / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}-{digest}")

    def labels(self) -> RawLabels | None:
        """The labels alone; None where the entry does not exist."""
        if not self._complete():
            return None
        meta = json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))
        train, test = (self._groups(split, meta[f"{split}_groups"]) for split in ("train", "test"))
        names = tuple(meta["class_names"])
        return RawLabels(meta["name"], self._read("y_train"), self._read("y_test"), train, test, names)

    def data(self) -> RawData | None:
        """The data set, its inputs memory-mapped for reading; None where the entry does not exist."""
        labels = self.labels()
        if labels is None:
            return None
        return RawData(
            name=labels.name,
            x_train=self._map("x_train"),
            y_train=labels.y_train,
            x_test=self._map("x_test"),
            y_test=labels.y_test,
            train_groups=labels.train_groups,
            test_groups=labels.test_groups,
            class_names=labels.class_names,
            mean=self._read("mean"),
            std=self._read("std"),
        )

    def store(self, raw: RawData) -> RawData:
        """Write the entry and return it memory-mapped; where the disk refuses, warn and return `raw` itself."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.folder.parent))
            try:
                _write(draft, raw)
                draft.rename(self.folder)
            except OSError:
                shutil.rmtree(draft, ignore_errors=True)
                if not self._complete():  # else another process was first, with the same arrays
                    raise
        except OSError as error:
            message = f"{raw.name} stays in memory: {self.folder.parent} cannot be written ({error}); set FEDLT_CACHE"
            warnings.warn(message, stacklevel=3)
            return raw
        return self.data() or raw

    def _complete(self) -> bool:
        return (self.folder / "meta.json").is_file()

    def _groups(self, split: str, columns: list[str]) -> Groups:
        return {column: self._read(f"{split}_group_{i}") for i, column in enumerate(columns)}

    def _read(self, array: str) -> NDArray[Any]:
        return np.load(self.folder / f"{array}.npy", allow_pickle=False)  # type: ignore[no-any-return]

    def _map(self, array: str) -> NDArray[Any]:
        return np.load(self.folder / f"{array}.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def _write(folder: Path, raw: RawData) -> None:
    for array in ("x_train", "x_test", "y_train", "y_test", "mean", "std"):
        np.save(folder / f"{array}.npy", getattr(raw, array))
    for split, groups in (("train", raw.train_groups), ("test", raw.test_groups)):
        for i, values in enumerate(groups.values()):
            np.save(folder / f"{split}_group_{i}.npy", values)
    meta = {
        "name": raw.name,
        "class_names": raw.class_names,
        "train_groups": list(raw.train_groups),
        "test_groups": list(raw.test_groups),
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
