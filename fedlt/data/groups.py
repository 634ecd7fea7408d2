"""Groups of classes by how many training samples they have: many, medium and few shot (head, middle, tail)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MANY, MEDIUM, FEW = 0, 1, 2


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


def sizes(groups: NDArray[np.int8]) -> tuple[int, int, int]:
    """How many classes are many, medium and few."""
    many, medium, few = np.bincount(groups, minlength=3)
    return int(many), int(medium), int(few)
