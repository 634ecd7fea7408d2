"""What a finished run's model makes of its samples: features, logits and labels, kept in the run folder.

    RUN/features/generic/       the generic model on the union of the clients' training rows, and on the global test set
    RUN/features/client-3/      the personal model of client 3 on its own rows
        about.json              whose they are, shapes, digests of the files
        train_features.npy      float32 [n, D]         test_..., and validation_... where samples are set apart
        train_logits.npy        float32 [n, C]         of the model's headline variant
        train_labels.npy        [n] class numbers, or [n, C] of targets with several labels a sample
        train_rows.npy          int64 [n]              rows of the data set's training or test split
        train_clients.npy       int64 [n]              whose training row it is; -1 in the other splits

They are made once, in `clients.features`; whatever fits a head, decodes or explains reads them, mapped into memory.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedlt.data.digests import digests, file_digest
from fedlt.errors import FedLTError

FORMAT = 1
"""To be raised when the files' meaning changes: older ones are then made anew."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Some samples under one model.

    Attributes:
        features: float32 [n, D] before the head.
        logits: float32 [n, C].
        labels: as the data set has them; of training rows as clients see them, noise included.
        rows: int64 [n], of the data set's split (validation rows are training ones).
        clients: int64 [n], whose training row it is; -1 where it is nobody's.
    """

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    labels: NDArray[Any]
    rows: NDArray[np.int64]
    clients: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


class KeptFeatures:
    """Features, logits and labels of one model of a run, by split.

    Attributes:
        folder: where they are.
        about: what `about.json` says.
        client: whose personal model; None for the generic one.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.client: int | None = about["client"]

    def __repr__(self) -> str:
        """Whose they are, and how many."""
        whose = "generic model" if self.client is None else f"client {self.client}"
        sizes = ", ".join(f"{name} {shape[0]} x {shape[1]}" for name, shape in self.about["shapes"].items())
        return f"KeptFeatures({whose}: {sizes})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names."""
        return tuple(self.about["class_names"])

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """int64 [C], training samples over all clients; head, medium and tail follow from them."""
        return np.array(self.about["class_counts"], np.int64)

    @cached_property
    def train(self) -> Split:
        """The training rows."""
        return self._split("train")

    @cached_property
    def test(self) -> Split:
        """The global test set; of a client, its own test rows."""
        return self._split("test")

    @cached_property
    def validation(self) -> Split | None:
        """The rows that nobody trained on (`data.validation`); None where there are none."""
        return self._split("validation") if "validation" in self.about["shapes"] else None

    def _split(self, name: str) -> Split:
        arrays = {f.name: np.load(self.folder / f"{name}_{f.name}.npy", mmap_mode="r") for f in fields(Split)}
        return Split(**arrays)

    @classmethod
    def kept(cls, folder: Path, model_hash: str) -> Self | None:
        """Those in the folder; None where there are none of this model.

        Raises:
            FedLTError: for damaged files.
        """
        if not (folder / "about.json").is_file():
            return None
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT or about["model_hash"] != model_hash:
            return None

        files = {name: folder / name for name in about["files"]}
        gone = [name for name, path in files.items() if not path.is_file()]
        if gone or digests(files) != about["files"]:
            what = f"{gone[0]} is missing" if gone else "a file is not what it was when it was written"
            raise FedLTError(f"{folder}: {what}; delete the folder, and the features are made again")
        return cls(folder, about)

    @classmethod
    def write(cls, folder: Path, splits: Mapping[str, Split], about: Mapping[str, Any]) -> Self:
        """Keep splits in the folder, in the place of what is there.

        Args:
            about: all else that is told.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            draft.chmod(folder.parent.stat().st_mode)
            for name, split in splits.items():
                for field in fields(Split):
                    np.save(draft / f"{name}_{field.name}.npy", getattr(split, field.name))

            files = {path.name: file_digest(path) for path in sorted(draft.glob("*.npy"))}
            shapes = {name: split.features.shape for name, split in splits.items()}
            told = {"format": FORMAT, **about, "shapes": shapes, "files": files}
            (draft / "about.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls(folder, json.loads((folder / "about.json").read_text(encoding="utf-8")))
