"""Subclasses: clusters of about equal size within each class, found on unit features.

Hou, Zhang, Wang, Zhou: Subclass-balancing Contrastive Learning for Long-tailed Recognition. ICCV 2023: a class of n_c
samples has max(1, n_c // m) of them, m being the smallest class's size, or `least` if that is larger.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedlt.data.counting import occurrences

ROUNDS = 3  # of balanced assignment and new centres


def subclasses(
    features: NDArray[np.float32], labels: NDArray[np.int64], least: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """[n] a number for each sample's subclass, ascending with the class.

    Args:
        features: [n, D] of norm one.
        labels: [n].
    """
    classes, counts = np.unique(labels, return_counts=True)
    size = max(int(counts.min()), least)
    result, first = np.empty(len(labels), np.int64), 0
    for label, count in zip(classes, counts, strict=True):
        rows, number = np.flatnonzero(labels == label), max(1, int(count) // size)
        result[rows] = first + balanced(features[rows], number, rng)
        first += number
    return result


def balanced(features: NDArray[np.float32], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[n] clusters 0..number-1 of at most ceil(n / number) samples each: k-means by cosine, then with that limit.

    Args:
        features: [n, D].
        number: of clusters.
        rng: of the first centres.
    """
    if number == 1:
        return np.zeros(len(features), np.int64)
    from sklearn.cluster import KMeans  # takes a second

    with threadpool_limits(1):  # its sums depend on the number of threads
        start = KMeans(number, n_init=1, max_iter=30, random_state=int(rng.integers(2**31))).fit(features)
    centres, limit = start.cluster_centers_, math.ceil(len(features) / number)
    owner = np.zeros(len(features), np.int64)
    for _ in range(ROUNDS):
        owner = fill(features @ unit(centres).T, limit)
        sums = np.zeros_like(centres)
        np.add.at(sums, owner, features)
        centres = sums / np.maximum(occurrences(owner, number), 1)[:, None]
    return owner


def fill(similarity: NDArray[np.floating], limit: int) -> NDArray[np.int64]:
    """[n] the cluster of each sample: each goes to the nearest one with room, and a cluster takes the nearest first.

    Args:
        similarity: [n, K] of samples to clusters.
        limit: samples that a cluster takes; limit * K >= n.
    """
    samples, clusters = similarity.shape
    left = similarity.astype(np.float64)
    owner, room = np.full(samples, -1, np.int64), np.full(clusters, limit)

    # In each pass, all samples that are left ask for their nearest cluster; those that are full no longer count.
    while (waiting := np.flatnonzero(owner < 0)).size:
        wanted = left[waiting].argmax(1)
        for cluster in np.unique(wanted):
            asking = waiting[wanted == cluster]
            order = np.argsort(-left[asking, cluster], kind="stable")
            taken = asking[order[: room[cluster]]]
            owner[taken] = cluster
            room[cluster] -= len(taken)

            if not room[cluster]:
                left[:, cluster] = -np.inf
    return owner


def unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows [n, D] of norm one; a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
