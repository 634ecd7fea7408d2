"""Decoded data sets as plain `.npy` files, memory-mapped so that all processes of a machine share one copy.

    <cache>/<name>-<hash of the source>/{x_train,x_test,y_train,y_test}.npy, meta.json, group columns, and
    the arrays of the input kind (`inputs_mean.npy`)

An entry is written to a folder of its own and then renamed, so that a reader never sees half of one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.inputs import described, restored
from fedlt.data.kind_of import built_in
from fedlt.data.raw import RawData, RawLabels
from fedlt.data.stored import saved
from fedlt.data.targets import Targets
from fedlt.process.cache import cache_folder
from fedlt.target import Target

ABANDONED = 24 * 3600.0  # seconds without a change after which an entry in the making is nobody's
FORMAT = 3  # part of every entry's hash: to be raised when the files' meaning changes


@dataclass(frozen=True)
class Entry:
    """The place of one decoded data set, there or not.

    Attributes:
        folder: where the arrays are, or will be; it is made by whoever writes them.
        kind: of the targets; None: as the entry says.
    """

    folder: Path
    kind: Target | None = None

    @classmethod
    def of(cls, cache_dir: Path | str | None, name: str, identity: Sequence[Any], kind: Target | None = None) -> Entry:
        """The entry of a source, in the cache's folder (see `cache_folder`).

        Args:
            cache_dir: None: `FEDLT_CACHE`, or the user's own cache folder.
            name: of the data set, which begins the folder's name.
            identity: everything that decides the arrays, such as digests of files, and columns.
            kind: of the targets, where the scenario names it.
        """
        digest = hashlib.sha256(json.dumps([FORMAT, *identity]).encode()).hexdigest()[:16]
        return cls(cache_folder(cache_dir) / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}-{digest}", kind)

    def labels(self) -> RawLabels | None:
        """The labels alone; None where the entry does not exist."""
        if not self._complete():
            return None
        meta = self._meta()
        names = tuple(meta["class_names"])
        train = self._targets("train", meta, len(names))
        test = replace(self._targets("test", meta, len(names)), frequency=train.counts())
        return RawLabels(meta["name"], train, test, names)

    def data(self) -> RawData | None:
        """The data set, its inputs memory-mapped for reading; None where the entry does not exist."""
        labels = self.labels()
        if labels is None:
            return None
        description, names = self._meta()["inputs"], self._meta()["input_arrays"]
        return RawData(
            **vars(labels),
            x_train=self._map("x_train"),
            x_test=self._map("x_test"),
            inputs=restored(description, {name: self._read(f"inputs_{name}") for name in names}),
        )

    @contextmanager
    def draft(self) -> Iterator[Path | None]:
        """A folder in which a source may leave large arrays for the entry; None where the disk refuses."""
        try:
            draft = self._new_draft()
        except OSError:
            yield None
            return
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def store(self, raw: RawData, draft: Path | None = None) -> RawData:
        """Write the entry and return it memory-mapped; where the disk refuses, warn and return `raw` itself.

        Args:
            draft: the folder of this very entry (`draft`) in which large arrays of `raw` lie; None: a new one.
        """
        try:
            made = self._new_draft() if draft is None else draft
            try:
                _write(made, raw)
                made.rename(self.folder)
            except OSError:
                shutil.rmtree(made, ignore_errors=True)
                if not self._complete():  # else another process was first, with the same arrays
                    raise
        except OSError as error:
            message = f"{raw.name} stays in memory: {self.folder.parent} cannot be written ({error}); set FEDLT_CACHE"
            warnings.warn(message, stacklevel=3)
            return raw
        return self.data() or raw

    def _new_draft(self) -> Path:
        """A folder for the files of the entry; those that killed processes left long ago are taken away."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        for draft in self.folder.parent.glob(".draft-*"):
            with suppress(OSError):  # another process may do the same
                newest = max(path.stat().st_mtime for path in (draft, *draft.iterdir()))
                if time.time() - newest > ABANDONED:
                    shutil.rmtree(draft)
        return Path(tempfile.mkdtemp(prefix=".draft-", dir=self.folder.parent))

    def _complete(self) -> bool:
        return (self.folder / "meta.json").is_file()

    def _meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def _targets(self, split: str, meta: dict[str, Any], classes: int) -> Targets:
        groups = {column: self._read(f"{split}_group_{i}") for i, column in enumerate(meta[f"{split}_groups"])}
        kind = self.kind or built_in(meta.get("targets", "single"))
        return Targets(self._read(f"y_{split}"), classes, kind, groups)

    def _read(self, array: str) -> NDArray[Any]:
        return np.load(self.folder / f"{array}.npy", allow_pickle=False)  # type: ignore[no-any-return]

    def _map(self, array: str) -> NDArray[Any]:
        return np.load(self.folder / f"{array}.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def _write(folder: Path, raw: RawData) -> None:
    """Write the arrays of a data set, and delete what only led to them."""
    left = set(folder.iterdir())
    for array in ("x_train", "x_test", "y_train", "y_test"):
        saved(folder / f"{array}.npy", getattr(raw, array))
    for file in left:
        file.unlink(missing_ok=True)  # on the way to the arrays

    arrays = raw.inputs.arrays()
    for name, values in arrays.items():
        np.save(folder / f"inputs_{name}.npy", values)
    for split, groups in (("train", raw.train_targets.groups), ("test", raw.test_targets.groups)):
        for i, values in enumerate(groups.values()):
            np.save(folder / f"{split}_group_{i}.npy", values)
    meta = {
        "name": raw.name,
        "class_names": raw.class_names,
        "targets": raw.train_targets.kind.name,
        "inputs": described(raw.inputs),
        "input_arrays": list(arrays),
        "train_groups": list(raw.train_targets.groups),
        "test_groups": list(raw.test_targets.groups),
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
