"""One Gaussian of features per class: robust against wrong labels, and for rare classes informed by frequent ones.

Zhang, Zhao, Yao, Yuan, Huang: When Noisy Labels Meet Long Tail Dilemmas: A Representation Calibration Method. ICCV
2023. After Yang, Liu, Xu: Free Lunch for Few-shot Learning. ICLR 2021. All in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedlt.data.counting import occurrences

NEIGHBOURS = 20  # of the local outlier factor; a class of no more samples keeps them all
FLOOR = 0.02  # of the mean variance, in every direction: a class of fewer samples than dimensions is flat in some


@dataclass(frozen=True)
class Gaussians:
    """A Gaussian distribution of features for each class.

    Attributes:
        means: [C, D].
        covariances: [C, D, D].
        counts: [C] labelled samples, outliers included; 0: the rest is 0.
    """

    means: NDArray[np.float64]
    covariances: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def frequent(self) -> NDArray[np.bool_]:
        """[C] classes with more than the mean number of samples."""
        return self.counts > self.counts.sum() / max(1, np.count_nonzero(self.counts))

    @property
    def level(self) -> float:
        """Mean variance of a feature within the frequent classes, or within all where none is frequent."""
        there = self.frequent if self.frequent.any() else self.counts > 0
        return float(np.trace(self.covariances[there], axis1=1, axis2=2).mean()) / self.means.shape[1]


def robust_gaussians(features: NDArray[np.floating], labels: NDArray[np.int64], classes: int) -> Gaussians:
    """Means and covariances of each class without its outliers.

    Args:
        features: [n, D].
        labels: [n].
    """
    dim = features.shape[1]
    means, covariances = np.zeros((classes, dim)), np.zeros((classes, dim, dim))
    for label in np.unique(labels):
        mine = features[labels == label].astype(np.float64)
        mine = mine[inliers(mine)]
        means[label] = mine.mean(0)
        if len(mine) > 1:
            covariances[label] = np.cov(mine, rowvar=False)
    return Gaussians(means, covariances, occurrences(labels, classes))


def inliers(features: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[n] samples that lie about as densely as their neighbours, by the local outlier factor (Breunig et al., 2000)."""
    if len(features) <= NEIGHBOURS:
        return np.ones(len(features), bool)
    from sklearn.neighbors import LocalOutlierFactor  # takes a second

    with threadpool_limits(1):
        return np.asarray(LocalOutlierFactor(NEIGHBOURS).fit_predict(features) > 0)


def calibrated(found: Gaussians, nearest: int, share: float, ridge: float) -> Gaussians:
    """Gaussians whose rare classes are moved towards frequent ones and widened.

    mu' = share sum_c w_c mu_c + (1 - share) mu over the `nearest` frequent classes c by distance of means, with weights
    w_c proportional to n_c / distance; covariances likewise, and `ridge` times the frequent classes' mean variance is
    added to all variances. share 0 and ridge 0: each class for itself.

    Args:
        found: the Gaussians as they were estimated.
        nearest: frequent classes that each rare one learns from.
        share: of theirs in the mean, in [0, 1].
        ridge: what is added to the variances, in units of the frequent classes' mean variance.
    """
    means, covariances = found.means.copy(), found.covariances.copy()
    heads = np.flatnonzero(found.frequent)
    if not len(heads):
        return found

    added = ridge * found.level * np.eye(means.shape[1])
    for label in np.flatnonzero(~found.frequent & (found.counts > 0)):
        # Weights of the nearest frequent classes.
        distance = np.linalg.norm(found.means[heads] - found.means[label], axis=1)
        near = np.argsort(distance, kind="stable")[:nearest]
        weights = found.counts[heads[near]] / np.maximum(distance[near], 1e-12)
        weights = weights / weights.sum()

        # Means and covariances move towards theirs.
        blend = np.tensordot(weights, found.covariances[heads[near]], 1)
        means[label] = (1 - share) * found.means[label] + share * weights @ found.means[heads[near]]
        covariances[label] = (1 - share) * found.covariances[label] + share * blend + added
    return Gaussians(means, covariances, found.counts)


def factors(found: Gaussians) -> NDArray[np.float64]:
    """[C, D, D] L with L L' = covariance, a little of the mean variance being added so that it exists."""
    identity = np.eye(found.means.shape[1])
    roots = np.linalg.cholesky(found.covariances + max(FLOOR * found.level, 1e-8) * identity)
    return np.asarray(roots, np.float64)
