"""PRESTO: ordered classes whose rare last ones borrow from their neighbours, by a fused lasso over decision boundaries.

Faletto, Bien: Predicting Rare Events by Shrinking Towards Proportional Odds. ICML 2023 (arXiv 2306.00280). With ordered
classes 1..K

    P(y <= k | x) = sigmoid(alpha_k + beta_k' x),     k = 1..K-1

and the penalty lam (|beta_1| + sum over k >= 2 of |beta_k - beta_(k-1)|), a boundary has slopes of its own where the
data ask for them, and those of the boundary before it where they do not; proportional odds are the case without any
differences. Solved as a plain lasso over differences, by FISTA (Beck, Teboulle, 2009) with intercepts kept in order;
the official code, in R, takes coordinate descent. Boundaries with slopes of their own may cross: probabilities below
zero are then zero, and `crossings` counts them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.validation import check_is_fitted, validate_data

from fedlt.heads.labels import read

Floats = NDArray[np.float64]
LEAST = 1e-8
"""Probability at least, in the likelihood."""
PATH, LOWEST = 20, 0.01
"""Penalties that are tried where none is given, down to this part of the one under which nothing is left."""


@dataclass(eq=False, repr=False)
class PRESTO(ClassifierMixin, BaseEstimator):
    """A head for ordered classes; their order is that of the sorted labels. What ends in `_` is there after `fit`.

    Attributes:
        lam: the penalty; None: that of the best Brier score over `folds` folds of the training samples.
        first: whether the first boundary's slopes are penalised as well, as in the paper; without, an infinite penalty
            gives proportional odds.
        folds: of the choice; a class of fewer samples is in fewer folds.
        max_iter: steps of the solver.
        tol: change of all numbers below which it ends.
        classes_: [K].
        intercept_: [K - 1].
        coef_: [K - 1, D], of features as they are.
        lam_: the penalty that was taken.
        n_iter_: steps that the solver took.
    """

    lam: float | None = None
    first: bool = True
    folds: int = 5
    max_iter: int = 500
    tol: float = 1e-6

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """X: [n, D] features, which are scaled to variance 1. y: [n] labels of at least two classes."""
        features, self.classes_, index = read(self, X, y)
        if self.lam is not None and self.lam < 0:
            raise ValueError(f"expected lam >= 0, got {self.lam}")

        self.lam_ = self._chosen(features, index) if self.lam is None else float(self.lam)
        mean, spread = _moments(features)
        problem = _Ordinal((features - mean) / spread, index, len(self.classes_))
        found, self.n_iter_ = problem.solve(problem.start(), self.lam_, self.first, self.max_iter, self.tol)
        self.coef_ = np.cumsum(found[:, 1:], 0) / spread
        self.intercept_ = found[:, 0] - self.coef_ @ mean
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """[n, K] the differences between boundaries, zero where they cross, brought to the sum 1."""
        found = np.maximum(self._differences(X), 0)
        return np.asarray(found / found.sum(1, keepdims=True), np.float64)

    def crossings(self, X: ArrayLike) -> int:
        """Rows of X at which two boundaries cross."""
        return int((self._differences(X) < 0).any(1).sum())

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """[n] labels."""
        check_is_fitted(self)
        chosen: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(1)]
        return chosen

    def _differences(self, X: ArrayLike) -> Floats:
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        return _differences(expit(features @ self.coef_.T + self.intercept_))

    def _chosen(self, features: Floats, index: NDArray[np.intp]) -> float:
        """The largest penalty of the best Brier score."""
        classes = len(self.classes_)
        mean, spread = _moments(features)
        whole = _Ordinal((features - mean) / spread, index, classes)
        path = whole.largest() * np.geomspace(1, LOWEST, PATH)
        folds = min(self.folds, int(np.bincount(index).max()))
        scores = np.zeros(PATH)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a rare class has fewer samples than there are folds
            parts = [*StratifiedKFold(folds, shuffle=True, random_state=0).split(features, index)]
        for train, held in parts:
            mean, spread = _moments(features[train])
            problem = _Ordinal((features[train] - mean) / spread, index[train], classes)
            found, judged = problem.start(), (features[held] - mean) / spread
            for place, lam in enumerate(path):
                found, _ = problem.solve(found, lam, self.first, self.max_iter, self.tol)
                slopes = np.cumsum(found[:, 1:], 0)
                p = np.maximum(_differences(expit(judged @ slopes.T + found[:, 0])), 0)
                scores[place] += ((p - np.eye(classes)[index[held]]) ** 2).sum()
        return float(path[scores.argmin()])


class _Ordinal:
    """The likelihood over scaled features. x: [n, D]. index: [n] classes. Numbers: [K - 1, 1 + D], the intercepts,
    then differences of slopes.
    """

    def __init__(self, x: Floats, index: NDArray[np.intp], classes: int) -> None:
        self.x, self.index, self.classes = x, index, classes

    def start(self) -> Floats:
        """Intercepts of the classes' frequencies, and no slopes."""
        share = (np.cumsum(np.bincount(self.index, minlength=self.classes))[:-1] + 0.5) / (len(self.index) + 1)
        return np.column_stack([np.log(share / (1 - share)), np.zeros((self.classes - 1, self.x.shape[1]))])

    def largest(self) -> float:
        """The penalty from which on all slopes are zero."""
        return float(np.abs(self.gradient(self.start())[:, 1:]).max())

    def cost(self, numbers: Floats) -> float:
        """Mean negative log-likelihood."""
        return -float(np.log(self._likelihoods(numbers)[0]).mean())

    def gradient(self, numbers: Floats) -> Floats:
        """[K - 1, 1 + D] that of the mean."""
        likelihood, levels = self._likelihoods(numbers)
        pushed = (likelihood > LEAST)[:, None]
        slopes = pushed * levels * (1 - levels) / likelihood[:, None]
        rows, last = np.arange(len(self.index)), self.classes - 1
        error = np.zeros_like(levels)
        upper, lower = self.index < last, self.index > 0
        error[rows[upper], self.index[upper]] -= slopes[rows[upper], self.index[upper]]
        error[rows[lower], self.index[lower] - 1] += slopes[rows[lower], self.index[lower] - 1]
        by_boundary = error.T @ self.x / len(rows)
        return np.column_stack(
            [error.mean(0), np.cumsum(by_boundary[::-1], 0)[::-1]]
        )  # a difference moves all later ones

    def solve(self, numbers: Floats, lam: float, first: bool, max_iter: int, tol: float) -> tuple[Floats, int]:
        """The numbers of the smallest penalised cost, by accelerated proximal gradient; too long a step is halved.

        Args:
            numbers: [K - 1, 1 + D] intercepts and slopes where it starts.
            lam: of the penalty on the differences between boundaries.
            first: whether the first boundary's slopes are penalised as well.
            max_iter: steps at most.
            tol: change of all numbers below which it ends.

        Returns:
            The numbers, and the steps that it took.
        """
        step, momentum, ahead, taken, moved = 1.0, 1.0, numbers, 0, np.inf
        penalties = np.full((self.classes - 1, 1), lam)
        penalties[0] = lam if first else 0.0
        while taken < max_iter and moved >= tol:
            cost, gradient = self.cost(ahead), self.gradient(ahead)

            # A step of the gradient, then the intercepts' order and the soft threshold; halved while too long.
            while True:
                new = ahead - step * gradient
                new[:, 0] = np.maximum.accumulate(new[:, 0])
                new[:, 1:] = np.sign(new[:, 1:]) * np.maximum(np.abs(new[:, 1:]) - step * penalties, 0)
                change = new - ahead
                bound = cost + (gradient * change).sum() + (change**2).sum() / (2 * step)
                if self.cost(new) <= bound + 1e-12 or step < 1e-10:
                    break
                step /= 2

            taken, moved = taken + 1, np.abs(new - numbers).max()
            faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / faster * (new - numbers)
            numbers, momentum = new, faster
        return numbers, taken

    def _likelihoods(self, numbers: Floats) -> tuple[Floats, Floats]:
        """[n] of each sample's class, and [n, K - 1] P(y <= k)."""
        levels = expit(self.x @ np.cumsum(numbers[:, 1:], 0).T + numbers[:, 0])
        found = _differences(levels)[np.arange(len(self.index)), self.index]
        return np.maximum(found, LEAST), levels


def _differences(levels: Floats) -> Floats:
    """[n, K] probabilities of the classes from those of being at most each [n, K - 1]."""
    return np.diff(levels, axis=1, prepend=0.0, append=1.0)


def _moments(features: Floats) -> tuple[Floats, Floats]:
    """[D] means, and deviations, 1 where there is none."""
    spread = features.std(0)
    return features.mean(0), np.where(spread > 1e-12, spread, 1.0)
