"""Groups of classes by how many training samples they have: many, medium and few shot (head, middle, tail)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences

MANY, MEDIUM, FEW = 0, 1, 2

SHOTS = ("head", "medium", "tail")
"""What texts call the groups."""


def by_count(class_counts: NDArray[np.int64], many: int = 100, few: int = 20) -> NDArray[np.int8]:
    """int8 [C]: 0 above `many` samples, 2 below `few`, 1 in between (both bounds included).

    Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019.
    """
    groups = np.where(class_counts > many, MANY, np.where(class_counts < few, FEW, MEDIUM))
    return groups.astype(np.int8)


def by_mass(counts: NDArray[np.int64], head: float = 0.75, medium: float = 0.95) -> NDArray[np.int8]:
    """int8 [C]: 0 for the largest classes that together reach `head` of all samples, 1 up to `medium`, 2 beyond.

    The class that crosses a bound belongs to the larger group; equal classes are taken in class order; a class
    without samples is 2. The rule of the FedLoGe code (Xiao et al., ICLR 2024), where `counts` [C] are the
    local test counts summed over the clients.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # samples of all larger classes
    total = counts.sum()
    ranked = np.where(before < head * total, MANY, np.where(before < medium * total, MEDIUM, FEW))
    groups = np.empty(len(counts), np.int8)
    groups[order] = ranked
    return groups


def untested(class_counts: NDArray[np.int64], test_counts: NDArray[np.int64]) -> tuple[int, int, int]:
    """How many of the many, medium and few classes have no test sample: no figure of a model can count them.

    class_counts, test_counts: [C] training samples over all clients, and samples of the global test set.
    """
    return sizes(by_count(class_counts)[test_counts == 0])


def untested_text(
    class_counts: NDArray[np.int64], test_counts: NDArray[np.int64], class_names: Sequence[str], shown: int = 5
) -> str:
    """What is to be said of classes without a test sample, with the remedy; "" where every class has one."""
    missing = np.flatnonzero(test_counts == 0)
    if not len(missing):
        return ""
    pairs = zip(SHOTS, sizes(by_count(class_counts)), untested(class_counts, test_counts), strict=True)
    told = ", ".join(
        f"{held} {name} class{'es' if held > 1 else ''}, {bare} of them without a test sample"
        for name, held, bare in pairs
        if bare
    )
    names = ", ".join(class_names[label] for label in missing[:shown])
    more = f" and {len(missing) - shown} more" if len(missing) > shown else ""
    remedy = "move samples of them to the test set, or leave the classes out of the data"
    return f"{told} ({names}{more}): no figure counts them; {remedy}"


def bare_text(class_counts: Sequence[int], bare: Sequence[int]) -> str:
    """`2 of the 3 tail classes`, of the classes that have no test sample; "" where there are none.

    class_counts, bare: how many classes are many, medium and few, and how many of these have no test sample.
    """
    groups = zip(bare, class_counts, SHOTS, strict=True)
    return ", ".join(f"{gone} of the {size} {group} classes" for gone, size, group in groups if gone)


def sizes(groups: NDArray[np.int8]) -> tuple[int, int, int]:
    """How many classes are many, medium and few."""
    many, medium, few = occurrences(groups, 3)
    return int(many), int(medium), int(few)
