"""A test set for data that come without one: `data.test_share` of the rows, by class.

The draw knows no seed: all runs on one data set are tested on the same rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.coding import refuse
from fedlt.process.seeding import generator

KEY = "data.test_share"


def cut(labels: NDArray[Any], share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that stay for training and rows of the test set, each ascending.

    A class gives the share of its rows, rounded, and at least one; one row stays for training. A class of a single row
    has no test sample.

    Args:
        labels: [N] numbers or texts: the class of each row, or of several the one that it follows (`stratum`).
    """
    _, codes = np.unique(labels.astype(str), return_inverse=True)
    taken = np.zeros(len(codes), bool)
    for code in range(int(codes.max(initial=-1)) + 1):
        members = np.flatnonzero(codes == code)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        taken[generator(0, "test-share", code).permutation(members)[:count]] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def check_share(share: float | None, where: str, split: str, found: bool, lacks: str = "") -> None:
    """Refuse a share beside a test set, and a data set that has neither.

    Args:
        share: `data.test_share`; None: not set.
        where: the source, in words.
        split: the name of the test set.
        found: whether there is a test set.
        lacks: what is missing without one, as a verb and its object.

    Raises:
        ScenarioError: under `data.test_share` for the former, under `data.name` for the latter.
    """
    if share is not None and found:
        raise refuse(f"has no effect: {where} has a test set ({split}); remove it", KEY)
    if share is None and not found:
        lacks = lacks or f"has training data, but none of {split!r}"
        raise refuse(f"{where} {lacks}; provide a test set, or take one from the training set: data.test_share=0.2")
