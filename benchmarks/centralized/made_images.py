"""Augmented conditioning that keeps the images it has made, and how well they stand for the class's unseen ones.

Kynkäänniemi, Karras, Laine, Lehtinen, Aila: Improved Precision and Recall Metric for Assessing Generative Models.
NeurIPS 2019. A scenario names the learner as `benchmarks/centralized/made_images.py:Kept`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlt.data.site import Site
from fedlt.learners.augmented_conditioning import CLASSES, IMAGES, AugmentedConditioning

NEAREST = 3  # neighbours whose distance is the radius of a point's ball
COMPONENTS = 40  # principal ones of the pixels, in which distances are taken
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Kept(AugmentedConditioning):
    """Writes the images that the one site has made to a file, once."""

    told: str = ""  # that file, without the ending .npz: a file would be an input of the run

    def begin(self, site: Site) -> None:
        new = IMAGES not in site.state
        super().begin(site)
        if new and IMAGES in site.state:
            np.savez(f"{self.told}.npz", x=site.state[IMAGES].numpy(), y=site.state[CLASSES].numpy())


@dataclass(frozen=True)
class Components:
    """Principal components of images.

    Attributes:
        mean: [P] of the pixels.
        axes: [P, D].
    """

    mean: Points
    axes: Points

    @classmethod
    def of(cls, images: Points, number: int = COMPONENTS) -> Components:
        """The first ones of images [N, P]."""
        mean = images.mean(0)
        _, _, rows = np.linalg.svd(images - mean, full_matrices=False)
        return cls(mean, rows[:number].T)

    def __call__(self, images: Points) -> Points:
        """[N, D] of images [N, P]."""
        return (images - self.mean) @ self.axes


def covered(points: Points, by: Points, nearest: int = NEAREST) -> float:
    """Share of the points that lie in the ball of one of the others, whose radius is the distance to a neighbour of it.

    With points made and others real it is the precision, the other way round the recall.

    Args:
        points: [N, D].
        by: [M, D], more than `nearest`.
        nearest: which of its neighbours among the others gives the radius.
    """
    radius = np.sort(_distances(by, by), axis=1)[:, nearest]  # the first is its own
    return float((_distances(points, by) <= radius).any(1).mean())


def _distances(one: Points, other: Points) -> Points:
    """[N, M]"""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.sqrt(squares.clip(min=0))  # type: ignore[no-any-return]
