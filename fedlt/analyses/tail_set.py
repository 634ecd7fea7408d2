"""A balanced test set of the rarest classes, kept as a file of rows, and what methods have right on it.

Udandarao et al.: No "Zero-Shot" Without Exponential Data. NeurIPS 2024 (arXiv 2404.04125), whose Let It Wag! is a test
set of the concepts that training data hold least often. Here the classes are a data set's own, and the set is a part of
its test set: the rarest classes among the training samples of all clients, with equally many test samples each. A file
of row numbers makes it one and the same for all runs on the data set, whatever their partition, seed or tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedlt.errors import FedLTError, Problem, ScenarioError
from fedlt.plots.measured import by_name
from fedlt.process.files import replace_file

if TYPE_CHECKING:
    from fedlt.results.runs import Run

KEY = "--rarest"
SHARE = 0.2
"""Of the classes that are taken, unless said otherwise."""


@dataclass(frozen=True, eq=False)
class TailSet:
    """Some rows of a test set, equally many of each of its classes.

    Attributes:
        rows: int64 [n], of the data set's test split, ascending.
        labels: int64 [n] their classes.
        classes: int64 [k] the classes, the rarest first.
        counts: int64 [k] training samples of each, where the set was made.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(
        cls, class_counts: NDArray[np.int64], labels: NDArray[np.int64], rarest: int | None = None, seed: int = 0
    ) -> Self:
        """The set of the rarest classes that have training and test samples.

        Args:
            class_counts: int64 [C] training samples of each class.
            labels: int64 [n] of the whole test set.
            rarest: k, how many classes; a fifth of them, and two at least, unless given.
            seed: of the draw of test samples, where some classes have more than others.

        Raises:
            ScenarioError: where there are fewer classes.
        """
        tested = np.bincount(labels, minlength=len(class_counts))
        there = np.flatnonzero((class_counts > 0) & (tested > 0))
        size = max(2, round(SHARE * len(there))) if rarest is None else rarest
        if not 2 <= size <= len(there):
            message = f"expected 2 to {len(there)}, the classes with training and test samples, got {size}"
            raise ScenarioError(Problem(KEY, message))

        classes = there[np.argsort(class_counts[there], kind="stable")][:size]
        each, rng = int(tested[classes].min()), np.random.default_rng(seed)
        drawn = [rng.choice(np.flatnonzero(labels == label), each, replace=False) for label in classes]
        rows = np.sort(np.concatenate(drawn))
        return cls(rows, labels[rows], classes, class_counts[classes])

    def save(self, path: Path) -> None:
        """Write the set as an .npz file."""

        def write(draft: Path) -> None:
            with draft.open("wb") as file:
                np.savez_compressed(file, **vars(self))

        replace_file(path, write)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The set of a file. Raises `ScenarioError` where it holds none."""
        try:
            with np.load(path) as arrays:
                return cls(*(arrays[name] for name in ("rows", "labels", "classes", "counts")))
        except (OSError, ValueError, KeyError) as error:
            raise ScenarioError(Problem("--rows", f"{path} is no file of a tail test set: {error}")) from error

    def accuracies(self, logits: NDArray[np.floating], labels: NDArray[np.int64]) -> dict[str, float]:
        """What a model has right, as shares.

        Args:
            logits: [N, C] of the whole test set.
            labels: int64 [N] of it.

        Returns:
            `all`: of the whole test set, as a mean over its classes. `tail`: of this set. `within`: likewise, where
                only the set's own classes may be predicted.

        Raises:
            FedLTError: where the rows have other labels.
        """
        if self.rows[-1] >= len(labels) or (labels[self.rows] != self.labels).any():
            raise FedLTError("the tail test set was made of another data set: its rows have other labels here")
        predicted, mine = logits.argmax(axis=1), logits[self.rows][:, self.classes]
        recalls = [float((predicted[labels == label] == label).mean()) for label in np.unique(labels)]
        tail = float((predicted[self.rows] == self.labels).mean())
        within = float((self.classes[mine.argmax(axis=1)] == self.labels).mean())
        return {"all": float(np.mean(recalls)), "tail": tail, "within": within}


def tail_table(
    runs: Sequence[Run], rarest: int | None = None, rows: Path | None = None, by: str | None = None
) -> tuple[pd.DataFrame, TailSet]:
    """A row for each method, the best on the tail first, and the set that they are judged on.

    Columns: method, seeds, means of `TailSet.accuracies`, and the standard deviation `std` of `tail`.

    Args:
        runs: finished runs of one data set; the first gives the classes' training samples where a set is made.
        rarest: how many classes; see `TailSet.of`.
        rows: a file of a set, which is taken where it is there, and written else. None: made of the first run, not
            kept.
        by: keys that name the methods, as in `compare`.

    Raises:
        ScenarioError: for several labels a sample, and for `rarest` beside a file that is there.
    """
    first = runs[0].features()
    if first.train.labels.ndim > 1:
        raise ScenarioError(Problem("--tail", "is of samples with one class, and here they have several"))
    if rows is not None and rows.is_file():
        if rarest is not None:
            raise ScenarioError(Problem(KEY, f"{rows} is there and says which classes; leave one of both out"))
        kept = TailSet.load(rows)
    else:
        kept = TailSet.of(first.class_counts, np.asarray(first.test.labels), rarest)
        if rows is not None:
            kept.save(rows)

    told = []
    for name, mine in by_name(runs, by).items():
        tests = [run.features().test for run in mine]
        found = pd.DataFrame([kept.accuracies(np.asarray(test.logits), np.asarray(test.labels)) for test in tests])
        told.append({"method": name, "seeds": len(found), **found.mean(), "std": float(found["tail"].std())})
    return pd.DataFrame(told).sort_values("tail", ascending=False, kind="stable", ignore_index=True), kept
