"""Holds a fifth of each class of a training set out for validation, so that nothing is ever chosen on the test set.

python -m benchmarks.fedloge.validation $FEDLT_DATA/cifar100.npz $FEDLT_DATA/cifar100_validation.npz
fedlt run fedloge_cifar100_if100_a05_k40_cpu data.name=$FEDLT_DATA/cifar100_validation.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def hold_out(source: Path, target: Path, share: float = 0.2, seed: int = 0) -> None:
    """Writes `source` without its test set: `share` of each training class takes the test set's place.

    Columns of groups go along. The validation set is balanced where the training set is.
    """
    with np.load(source, allow_pickle=False) as file:
        columns = {name.removesuffix("_train"): file[name] for name in file.files if name.endswith("_train")}
        others = {name: file[name] for name in file.files if not name.endswith(("_train", "_test"))}
    y = columns["y"]
    rng = np.random.default_rng(seed)
    held = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        held[rows[: int(share * len(rows))]] = True
    split = {f"{name}_train": column[~held] for name, column in columns.items()}
    split |= {f"{name}_test": column[held] for name, column in columns.items()}
    np.savez(target, **split, **others)


if __name__ == "__main__":
    hold_out(Path(sys.argv[1]), Path(sys.argv[2]))
