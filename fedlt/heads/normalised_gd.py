"""NormalisedGD: logistic regression by gradient descent whose step is divided by the mean error probability.

Tyurin: From Logistic Regression to the Perceptron Algorithm: Exploring Gradient Descent with Large Step Sizes. AAAI
2025 (arXiv 2412.08424). With step g

    theta <- theta - g beta grad f,     beta = 1 / mean(1 - p_y)     (beta = 1 where it is not normalised)

and as g grows theta / g follows the batch perceptron, whose first step is half the mean of y x and whose later ones are
the sum over misclassified samples / n; `step=inf` is that limit. On separable, imbalanced data it separates in far
fewer iterations: a rare class's gradient is not drowned by samples that are right already.

Two classes have one weight vector, as in the paper; more have one each under softmax, with the same beta (ours). It
stops once every training sample is right, which is no statement about the margin or about other data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fedlt.heads.labels import read

Floats = NDArray[np.float64]


@dataclass(eq=False, repr=False)
class NormalisedGD(ClassifierMixin, BaseEstimator):
    """A linear classifier. What ends in `_` is there after `fit`.

    Attributes:
        step: g > 0; inf for the perceptron.
        normalise: divide by the mean error probability.
        max_iter: steps at most.
        fit_intercept: whether a one is appended to the features.
        classes_: [C].
        coef_: [1 or C, D].
        intercept_: [1 or C].
        n_iter_: the steps until every sample was right, or max_iter.
        separated_: whether they are.
    """

    step: float = 100.0
    normalise: bool = True
    max_iter: int = 1000
    fit_intercept: bool = True

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """X: [n, D] features. y: [n] labels of at least two classes."""
        if not self.step > 0:
            raise ValueError(f"expected step > 0, got {self.step}")
        features, self.classes_, index = read(self, X, y)

        inputs = np.hstack([features, np.ones((len(features), 1))]) if self.fit_intercept else features
        rows = 1 if len(self.classes_) == 2 else len(self.classes_)
        weights = np.zeros((rows, inputs.shape[1]))
        self.n_iter_, self.separated_ = 0, False
        while self.n_iter_ < self.max_iter and not self.separated_:
            weights = weights + self._step(inputs, index, weights)
            self.separated_ = self._all_right(inputs, index, weights)
            self.n_iter_ += 1

        self.coef_ = weights[:, : features.shape[1]]
        self.intercept_ = weights[:, -1] if self.fit_intercept else np.zeros(rows)
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """[n] for two classes, [n, C] for more."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        scores: Floats = features @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """[n] labels."""
        scores = self.decision_function(X)
        chosen: NDArray[Any] = self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]
        return chosen

    def predict_proba(self, X: ArrayLike) -> Floats:
        """[n, C]; the scores grow without end on separable data, so that these are near 0 and 1."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            positive = expit(scores)
            return np.column_stack([1 - positive, positive])
        found: Floats = softmax(scores, axis=1)
        return found

    def _step(self, inputs: Floats, index: NDArray[np.intp], weights: Floats) -> Floats:
        """What is added to the weights; with an infinite step, that over the step."""
        limit = np.isinf(self.step)
        if len(weights) == 1:
            sign = 2.0 * index - 1
            margins = sign * (inputs @ weights[0])
            wrong = _limit(-margins) if limit else expit(-margins)  # 1 - p_y
            ascent = ((wrong * sign) @ inputs)[None] / len(inputs)
        else:
            scores = inputs @ weights.T
            p = _argmax(scores) if limit else softmax(scores, axis=1)
            truth = np.eye(len(weights))[index]
            wrong, ascent = 1 - p[np.arange(len(p)), index], (truth - p).T @ inputs / len(inputs)

        beta = 1 / max(wrong.mean(), np.finfo(float).tiny) if self.normalise else 1.0
        return (1.0 if limit else self.step) * beta * ascent

    def _all_right(self, inputs: Floats, index: NDArray[np.intp], weights: Floats) -> bool:
        scores = inputs @ weights.T
        if len(weights) == 1:
            return bool(((2 * index - 1) * scores[:, 0] > 0).all())
        mine = scores[np.arange(len(index)), index]
        others = np.where(np.arange(len(weights)) == index[:, None], -np.inf, scores)
        return bool((mine > others.max(1)).all())


def _limit(values: Floats) -> Floats:
    """The sigmoid of infinitely large values: 0, 1/2 or 1."""
    return (np.sign(values) + 1) / 2


def _argmax(scores: Floats) -> Floats:
    """The softmax of infinitely large scores [n, C]: the largest share 1."""
    top = (scores == scores.max(1, keepdims=True)).astype(float)
    return top / top.sum(1, keepdims=True)
