"""Holds a balanced fifth of a training set out as a validation set, so that nothing is ever chosen on the test set.

python -m benchmarks.fedloge.validation $FEDLT_DATA/cifar100.npz $FEDLT_DATA/cifar100_validation.npz
fedlt run fedloge_cifar100_if100_a05_k40_cpu data.name=$FEDLT_DATA/cifar100_validation.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def hold_out(source: Path, target: Path, share: float = 0.2, seed: int = 0) -> None:
    """Writes `source` without its test set: `share` of each training class takes the test set's place."""
    with np.load(source, allow_pickle=False) as file:
        x, y, names = file["x_train"], file["y_train"], file["class_names"]
    rng = np.random.default_rng(seed)
    held = np.zeros(len(y), bool)
    for label in range(len(names)):
        rows = rng.permutation(np.flatnonzero(y == label))
        held[rows[: int(share * len(rows))]] = True
    np.savez(target, x_train=x[~held], y_train=y[~held], x_test=x[held], y_test=y[held], class_names=names)


if __name__ == "__main__":
    hold_out(Path(sys.argv[1]), Path(sys.argv[2]))
