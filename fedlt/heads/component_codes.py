"""Tells classes by what they are put together of: features are mapped to codes, and the nearest code's class counts.

Palatucci, Pomerleau, Hinton, Mitchell: Zero-Shot Learning with Semantic Output Codes. NeurIPS 2009; for characters and
their parts see MegaHan97K (Pattern Recognition 2025), whose codes are learnt by deep networks. The map is least squares
with a penalty, fitted on samples of classes that are seen. A class without any sample has a code as well
(`fedlt.data.components`), so it can be told; of nearness the cosine decides, codes being taken from their mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class ComponentCodes:
    """A linear map from features to codes.

    Args:
        alpha: weight of the squared map beside the mean squared error, for features of variance 1.
    """

    def __init__(self, alpha: float = 1e-3) -> None:
        self.alpha = alpha

    def fit(self, features: Any, labels: NDArray[np.int64], codes: Any) -> ComponentCodes:
        """Learn the map, each class counting alike.

        Args:
            features: [n, D] of samples of seen classes.
            labels: [n] their classes.
            codes: [C, M] of the classes.
        """
        x, labels = np.asarray(features, np.float64), np.asarray(labels)
        self.mean, self.scale = x.mean(0), x.std(0) + 1e-12
        x = (x - self.mean) / self.scale

        held = np.unique(labels)
        weights = 1 / (np.bincount(labels)[labels] * len(held))
        self.centre = np.asarray(codes, np.float64)[held].mean(0)
        wanted = np.asarray(codes, np.float64)[labels] - self.centre
        self.offset = weights @ x
        x = x - self.offset
        gram = (x * weights[:, None]).T @ x + self.alpha * np.eye(x.shape[1])
        self.map: Floats = np.linalg.solve(gram, (x * weights[:, None]).T @ wanted)
        return self

    def scores(self, features: Any, codes: Any) -> Floats:
        """[n, K] cosines between what features [n, D] are mapped to and the codes [K, M] of candidates."""
        x = (np.asarray(features, np.float64) - self.mean) / self.scale - self.offset
        return np.asarray(_unit(x @ self.map) @ _unit(np.asarray(codes, np.float64) - self.centre).T)

    def predict(self, features: Any, codes: Any) -> NDArray[np.int64]:
        """[n] the place of the nearest candidate."""
        return self.scores(features, codes).argmax(1)


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
