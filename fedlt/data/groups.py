"""Groups of classes by how many training samples they have: many, medium and few shot (head, middle, tail)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences

MANY, MEDIUM, FEW = 0, 1, 2

SHOTS = ("head", "medium", "tail")
"""What texts call the groups."""


def by_count(class_counts: NDArray[np.int64], many: int = 100, few: int = 20) -> NDArray[np.int8]:
    """Groups by bounds on a class's training samples, as in Liu et al., Large-Scale Long-Tailed Recognition, CVPR 2019.

    Args:
        class_counts: int64 [C] training samples.
        many: classes above it are head classes.
        few: classes below it are tail classes; both bounds are medium.

    Returns:
        int8 [C]: 0, 1 and 2 for head, medium and tail.
    """
    groups = np.where(class_counts > many, MANY, np.where(class_counts < few, FEW, MEDIUM))
    return groups.astype(np.int8)


def by_rank(class_counts: NDArray[np.int64], head: float = 0.5, medium: float = 0.8) -> NDArray[np.int8]:
    """Groups by a class's rank; with these bounds the rule of LongTailLib (commit 13d7e81): 5, 3 and 2 of 10 classes.

    Both numbers of classes are rounded down; one class at least is 0. Of equal classes the higher number comes first.

    Args:
        class_counts: int64 [C] training samples.
        head: share of the classes, those with most samples, that is 0.
        medium: up to this share of the classes they are 1, and 2 beyond.

    Returns:
        int8 [C]: 0, 1 and 2 for head, medium and tail.
    """
    classes = len(class_counts)
    order = np.lexsort((-np.arange(classes), -class_counts))
    most, more = (int(round(share * classes, 6)) for share in (head, medium))  # 0.57 * 100 is a bit below 57
    groups = np.full(classes, FEW, np.int8)
    groups[order[:more]] = MEDIUM
    groups[order[: max(1, most)]] = MANY
    return groups


def by_mass(counts: NDArray[np.int64], head: float = 0.75, medium: float = 0.95) -> NDArray[np.int8]:
    """Groups by what the largest classes hold together: the rule of the FedLoGe code (Xiao et al., ICLR 2024).

    The class that crosses a bound belongs to the larger group; equal classes are taken in class order; a class without
    samples is 2.

    Args:
        counts: [C] samples; in that code the local test counts, summed over the clients.
        head: share of all samples that the classes of 0 reach together.
        medium: that those of 0 and 1 reach together.

    Returns:
        int8 [C]: 0, 1 and 2 for head, medium and tail.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # samples of all larger classes
    total = counts.sum()
    ranked = np.where(before < head * total, MANY, np.where(before < medium * total, MEDIUM, FEW))
    groups = np.empty(len(counts), np.int8)
    groups[order] = ranked
    return groups


@dataclass(frozen=True)
class Grouping:
    """Which classes are head, medium and tail for the generic model: the keys of `evaluation.groups`.

    Attributes:
        by: `count`, bounds on training samples, or `rank`, shares of the classes.
        many, few: a class is head above the one, tail below the other.
        head, medium: shares of the classes, the largest first, that are head, and head or medium.
    """

    by: str = "count"
    many: int = 100
    few: int = 20
    head: float = 0.5
    medium: float = 0.8

    def __call__(self, class_counts: NDArray[np.int64]) -> NDArray[np.int8]:
        """int8 [C]: 0, 1 and 2 for head, medium and tail.

        Args:
            class_counts: [C] training samples over all clients.
        """
        if self.by == "rank":
            return by_rank(class_counts, self.head, self.medium)
        return by_count(class_counts, self.many, self.few)

    @classmethod
    def of_run(cls, scenario: Mapping[str, Any]) -> Grouping:
        """That of a finished run, from its whole scenario as a dictionary."""
        return cls(**scenario["evaluation"].get("groups", {}))

    @property
    def words(self) -> tuple[str, str, str]:
        """What makes a class head, medium and tail: `> 100 training samples`, `20..100`, `< 20`."""
        if self.by == "rank":
            return f"the largest {self.head:.4g} of all", f"up to {self.medium:.4g}", "the rest"
        return f"> {self.many} training samples", f"{self.few}..{self.many}", f"< {self.few}"


def untested(groups: NDArray[np.int8], test_counts: NDArray[np.int64]) -> tuple[int, int, int]:
    """How many of the many, medium and few classes have no test sample: no figure of a model can count them.

    Args:
        groups: [C] of 0, 1, 2.
        test_counts: [C] samples of the global test set.
    """
    return sizes(groups[test_counts == 0])


def untested_text(
    groups: NDArray[np.int8], test_counts: NDArray[np.int64], class_names: Sequence[str], shown: int = 5
) -> str:
    """What is to be said of classes without a test sample, with the remedy.

    Args:
        groups: int8 [C], 0, 1 and 2 for head, medium and tail.
        test_counts: int64 [C] test samples.
        class_names: C names.
        shown: how many classes are named at most.

    Returns:
        A text; empty where every class has a test sample.
    """
    missing = np.flatnonzero(test_counts == 0)
    if not len(missing):
        return ""

    pairs = zip(SHOTS, sizes(groups), untested(groups, test_counts), strict=True)
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

    Args:
        class_counts, bare: how many classes are many, medium and few, and how many of these have no test sample.
    """
    groups = zip(bare, class_counts, SHOTS, strict=True)
    return ", ".join(f"{gone} of the {size} {group} classes" for gone, size, group in groups if gone)


def sizes(groups: NDArray[np.int8]) -> tuple[int, int, int]:
    """How many classes are many, medium and few."""
    many, medium, few = occurrences(groups, 3)
    return int(many), int(medium), int(few)
