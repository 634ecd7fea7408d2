"""What every classifier among the heads does with its samples first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data


def read(head: BaseEstimator, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[np.intp]]:
    """Check the samples that an estimator is fitted on, and number their labels.

    Args:
        head: the estimator, on which the number of features is kept (`n_features_in_`).
        X: [n, D].
        y: [n] labels of any type that sorts.

    Returns:
        float64 [n, D] features, the classes [C] in their order, and [n] where each label stands among them.

    Raises:
        ValueError: for what is no such data, and for fewer than two classes.
    """
    features, labels = validate_data(head, X, y, dtype=np.float64)
    check_classification_targets(labels)
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"needs samples of at least two classes, got 1 class: {classes[0]}")
    return features, classes, index
