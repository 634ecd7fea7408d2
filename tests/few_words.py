"""Sentences of three classes for tests of count models: each class has some words of its own, all share others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES, VOCABULARY = 3, 40


def sentences(rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Token ids [n, 12], which of them are real [n, 12], and labels [n], the second and third class being rarer."""
    rng = np.random.default_rng(seed)
    y = np.array([0, 0, 0, 0, 1, 1, 2])[np.arange(rows) % 7]
    common = rng.integers(10, size=(rows, 12))
    own = 10 * (y[:, None] + 1) + rng.integers(10, size=(rows, 12))
    x = np.where(rng.random((rows, 12)) < 0.3, own, common)
    return x, np.arange(12) < rng.integers(2, 13, size=(rows, 1)), y


def save(folder: Path) -> Path:
    """A data set of such sentences, as a file."""
    arrays: dict[str, Any] = {"vocabulary": VOCABULARY}
    for split, rows, seed in (("train", 245, 0), ("test", 84, 1)):
        for name, values in zip(("x", "mask", "y"), sentences(rows, seed), strict=True):
            arrays[f"{name}_{split}"] = values
    np.savez(folder / "words.npz", **arrays)
    return folder / "words.npz"


def scenario(folder: Path, clients: int = 10) -> dict[str, Any]:
    """A scenario of these sentences over skewed clients, all of them asked in one round."""
    return {
        "data": {"name": str(save(folder))},
        "federation": {
            "clients": clients,
            "participation": 1.0,
            "rounds": 1,
            "partition": {"name": "dirichlet_per_class", "alpha": 0.3},
            "empty": "redraw",
            "block": 3,
        },
        "model": "ss3",
        "learner": "counting",
        "strategy": "exact_sum",
        "resources": {"backend": "inline"},
    }
