"""Do features that were trained on 20 superclasses keep the fine classes within them apart?"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from benchmarks.centralized.trained import passed, trained
from fedlt.blocks.clusters import balanced, unit
from fedlt.blocks.contrast import projected
from fedlt.results.runs import Run

FINE = 5  # fine classes of each superclass


def superclasses(folder: Path) -> Path:
    """CIFAR-100 with its superclasses for labels, as an .npz file in `folder`; made from $FEDLT_DATA/cifar100.npz."""
    path = folder / "cifar100_superclasses.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with np.load(_source()) as content:
            coarse = content["fine_to_coarse"]
            labels = {f"y_{part}": coarse[content[f"y_{part}"]] for part in ("train", "test")}
            np.savez(path, x_train=content["x_train"], x_test=content["x_test"], **labels)
    return path


def purity(run: Run) -> float:
    """Normalised mutual information, in %, of five clusters within each superclass with its fine classes.

    Of the run's own training images, by their projections; the mean over the superclasses that have 50 images or more.
    """
    from sklearn.metrics import normalized_mutual_info_score

    worker = trained(run)
    rows = worker.context.federation.union()
    with np.load(_source()) as content:
        fine = content["y_train"][rows]
    found = passed(
        lambda x: projected(worker.context.model, x), worker.context.train_inputs, torch.from_numpy(rows)
    ).numpy()
    labels, scores = worker.context.federation.y_train[rows], []
    for label in np.unique(labels):
        mine = labels == label
        if mine.sum() >= 50:
            clusters = balanced(unit(found[mine]).astype(np.float32), FINE, np.random.default_rng(0))
            scores.append(normalized_mutual_info_score(fine[mine], clusters))
    return float(100 * np.mean(scores))


def _source() -> Path:
    return Path(os.environ["FEDLT_DATA"]) / "cifar100.npz"
