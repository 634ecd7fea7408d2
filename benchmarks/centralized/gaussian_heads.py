"""Heads on frozen features of MNIST under a long tail with wrong labels: what calibrated Gaussians are worth.

Forty principal components stand for a representation that was learnt without labels; a head is a logistic regression.
The largest class has 1,000 samples, the imbalance is 50, and labels are flipped to other classes by their frequency.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlt.blocks.gaussians import Gaussians, calibrated, factors, robust_gaussians
from fedlt.config.scenario import load_scenario
from fedlt.data.federation import federate

DIMENSIONS, CLASSES, FEW = 40, 10, slice(7, 10)
TAIL = "data.longtail.profile=exponential", "data.longtail.imbalance_factor=50", "data.longtail.largest=1000"


def heads(noise: float, seed: int) -> dict[str, dict[str, float]]:
    """Test accuracy over all classes and over the last three, in %, by head."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    flips = ("data.noise.kind=frequency", f"data.noise.rate={noise}") if noise else ()
    held = federate(
        load_scenario(
            {"data": {"name": "mnist"}, "federation": {"clients": 1, "partition": "iid"}},
            [*TAIL, *flips, f"seed={seed}"],
        )
    )
    rows = held.union()
    pixels = [part.reshape(len(part), -1) / 255.0 for part in (held.x_train[rows], held.x_test)]
    reduce = PCA(DIMENSIONS, random_state=0).fit(pixels[0])
    x, x_test = (reduce.transform(part) for part in pixels)
    y = held.y_train[rows]
    found = robust_gaussians(x, y, CLASSES)

    def score(features: NDArray[np.float64], labels: NDArray[np.int64], weights: str | None = None) -> dict[str, float]:
        fitted = LogisticRegression(max_iter=500, class_weight=weights).fit(features, labels)
        right = fitted.predict(x_test) == held.y_test
        recall = 100 * np.array([right[held.y_test == label].mean() for label in range(CLASSES)])
        return {"all": float(100 * right.mean()), "few": float(recall[FEW].mean())}

    def filled(by: Gaussians) -> dict[str, float]:
        points, classes = _points(by, np.random.default_rng(seed))
        return score(np.concatenate([x, points]), np.concatenate([y, classes]))

    return {
        "ce": score(x, y),
        "balanced": score(x, y, "balanced"),
        "gaussians": filled(calibrated(found, 3, 0.0, 0.0)),
        "calibrated": filled(calibrated(found, 3, 0.1, 0.2)),
        "clean": score(x, _clean(seed)[rows], "balanced") if noise else score(x, y, "balanced"),
    }


def _points(found: Gaussians, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of each class, as many as it lacks to the largest one, and their classes."""
    y = np.repeat(np.arange(CLASSES), found.counts.max() - found.counts)
    noise = rng.standard_normal((len(y), DIMENSIONS))
    return found.means[y] + np.einsum("pij,pj->pi", factors(found)[y], noise), y


def _clean(seed: int) -> NDArray[np.int64]:
    """The true training labels."""
    return federate(
        load_scenario(
            {"data": {"name": "mnist"}, "federation": {"clients": 1, "partition": "iid"}}, [*TAIL, f"seed={seed}"]
        )
    ).y_train
