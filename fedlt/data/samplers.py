"""In which order, and how often, a site's samples are used.

A sampler is a function of the site that gives one pass: positions in 0..n-1. All but `shuffled` draw n samples with
replacement: first the group, by its share, then one of its samples. Groups are classes, or parents in a tree of
classes; shares are those of the site's own groups. A sample of several classes counts for the one that it follows
(`followed`).

Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: Decoupling Representation and Classifier for Long-Tailed
Recognition. ICLR 2020, section 3: instance-balanced (power 1), square root (1/2), class-balanced (0), progressive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fedlt.data.counting import occurrences
from fedlt.data.targets import Targets

if TYPE_CHECKING:
    from fedlt.data.site import Site

Sampler = Callable[["Site"], NDArray[np.int64]]
Groups = Literal["class", "parent"]
"""What is balanced: classes, or their parents in the tree of `data.parents` (domains, superclasses)."""


def shuffled(site: Site) -> NDArray[np.int64]:
    """Each sample once, in random order."""
    return site.rng.permutation(site.num_samples)


def power_shares(counts: NDArray[np.int64], power: float) -> NDArray[np.float64]:
    """Shares of classes proportional to n_c^power; absent classes get none.

    Args:
        counts: [C] samples n_c.
        power: 1: the data's own shares; 0: equal ones; below 0: rare classes come first.

    Returns:
        [C], which sum to 1.
    """
    raised = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** power, 0.0)
    return raised / raised.sum()


def followed(site: Site) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The class that each of the site's samples follows, [n], and how many follow each, [C]: a sample's one class, or
    of several the one that is rarest at the site.

    Kept for the same data and counts: a method may draw in each step, and labels on a GPU would be waited for.
    """
    if site.followed is None or site.followed[0] is not site.data or site.followed[1] is not site.class_counts:
        counts = site.class_counts.cpu().numpy()
        targets = Targets(site.data.y.cpu().numpy(), len(counts), site.task.target, frequency=counts)
        site.followed = site.data, site.class_counts, targets.lead, occurrences(targets.lead, len(counts))
    return site.followed[2:]


def grouped(site: Site, by: Groups = "class") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The group of each of a site's samples, and how many each group has.

    Args:
        site: whose samples.
        by: `class`, or `parent` in the tree of classes.

    Returns:
        [n] and [G].
    """
    lead, counts = followed(site)
    if by == "class":
        return lead, counts
    parents = site.task.parents
    assert parents is not None, "expect_parents has seen to it"
    return parents[lead], occurrences(parents[lead], int(parents.max()) + 1)


def draw(site: Site, shares: NDArray[np.float64], count: int | None = None, by: Groups = "class") -> NDArray[np.int64]:
    """Positions of a site's samples: a group by its share, then any of the group's samples, with replacement.

    Args:
        site: its generator draws.
        shares: [G] of the groups; they need not sum to 1.
        count: how many; None: n, as many as there are samples.
        by: `class` or `parent`: what the groups are.
    """
    group, counts = grouped(site, by)
    weights = (shares / np.maximum(counts, 1))[group]
    number = site.num_samples if count is None else count
    return site.rng.choice(site.num_samples, number, p=weights / weights.sum())


@dataclass(frozen=True)
class Power:
    """Shares of groups proportional to n_g^power: 1 is the data's own, 1/2 square root, 0 balanced."""

    power: float = 0.0
    by: Groups = "class"

    def __call__(self, site: Site) -> NDArray[np.int64]:
        return draw(site, power_shares(grouped(site, self.by)[1], self.power), by=self.by)


@dataclass(frozen=True)
class Progressive:
    """From the data's own shares to equal ones, by the share of the run that is done: (1 - t) n_g / n + t / G."""

    by: Groups = "class"

    def __call__(self, site: Site) -> NDArray[np.int64]:
        _, counts = grouped(site, self.by)
        shares = (1 - site.now) * power_shares(counts, 1.0) + site.now * power_shares(counts, 0.0)
        return draw(site, shares, by=self.by)


@dataclass(frozen=True)
class Cooldown:
    """Shares proportional to n_g^(1 / temperature) until `until` of the run is done, the data's own after it.

    Li and others: Upsample or Upweight? Balanced Training on Heavily Imbalanced Datasets. NAACL 2025.
    """

    temperature: float = 5.0
    until: float = 0.5
    by: Groups = "class"

    def __call__(self, site: Site) -> NDArray[np.int64]:
        heat = self.temperature if site.now < self.until else 1.0
        return draw(site, power_shares(grouped(site, self.by)[1], 1 / heat), by=self.by)


BY_GROUP = (Power, Progressive, Cooldown)
"""Samplers that ask each sample which class it follows, and so have no place for one without a label."""
