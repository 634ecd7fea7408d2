"""Statistics of the sparse simplex beside those that the official code logs; writes simplex.csv.

    python -m benchmarks.fedloge.simplex

Both recipes, 10,000 steps and 500. The cache is not used: every simplex is made anew.
"""

from __future__ import annotations

import csv
import math
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fedlt.nn.etf import Recipe, sparse_etf

SHAPES = ((10, 512), (100, 512), (20, 256), (50, 512))
LOGGED = {(10, 512): (96.379, 0.1006), (100, 512): (90.578, 0.1002)}  # mean angle in degrees, mean norm
NORM, SPARSITY, SEED = 0.1, 0.6, 0


def measured(classes: int, dim: int, recipe: Recipe) -> dict[str, object]:
    """One line of the table. Angles are those between all pairs of rows."""
    started = time.perf_counter()
    weight = sparse_etf(classes, dim, SPARSITY, NORM, SEED, recipe).numpy()
    seconds = time.perf_counter() - started
    norms = np.linalg.norm(weight.astype(np.float64), axis=1)
    cosines = (weight @ weight.T / np.outer(norms, norms))[~np.eye(classes, dtype=bool)]
    angles = np.degrees(np.arccos(cosines))
    logged = LOGGED.get((classes, dim), ("", ""))

    return {
        "classes": classes,
        "features": dim,
        "recipe": recipe,
        "angle_mean": f"{angles.mean():.4f}",
        "angle_variance": f"{angles.var():.4f}",
        "norm_mean": f"{norms.mean():.5f}",
        "zeros": int((weight == 0).sum()),
        "zeros_expected": math.floor(SPARSITY * classes * dim),
        "angle_optimum": f"{math.degrees(math.acos(-1 / (classes - 1))):.4f}",
        "angle_logged": logged[0],
        "norm_logged": logged[1],
        "seconds": f"{seconds:.1f}",
    }


def main() -> None:
    """Measure what the command line asks for, print it, and write the files."""
    recipes: tuple[Recipe, ...] = ("official", "fast")
    with TemporaryDirectory() as empty:
        os.environ["FEDLT_CACHE"] = empty
        lines = [measured(*shape, recipe) for shape in SHAPES for recipe in recipes]
    with Path(__file__).with_suffix(".csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    for line in lines:
        print("  ".join(f"{name} {value}" for name, value in line.items()))


if __name__ == "__main__":
    main()
