"""SingularKernel and InfiniteNetwork: how infinitely wide networks classify as their depth grows.

Radhakrishnan, Belkin, Uhler: Wide and Deep Neural Networks Achieve Optimality for Classification. PNAS 2023 (arXiv
2204.14126). Of unit-norm inputs with z = <x, x'> the tangent kernel of depth L is the L-fold image of z under the
activation's dual f, f(1) = 1. With A = f'(0) in (0, 1) and A' = f'(1), kernel regression tends to a vote of all samples
with weights |x - x'|^-a, a = -2 log A / log A'. It is consistent where a is the dimension of the sphere, D - 1: the
estimate of Hilbert kernels (Devroye, Gyorfi, Krzyzak, 1998). A = 0 gives the nearest neighbour's label. This is said
of inputs without negative coordinates, as features after a ReLU are: an odd dual lets opposite samples vote against.

`SingularKernel` is that limit, and of use on features of any dimension; `prior_corrected` (ours) divides a class's
votes by its training samples, without which head classes outvote the tail. `InfiniteNetwork` has a finite depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fedlt.heads.labels import read

Floats = NDArray[np.float64]
DUALS: dict[int, tuple[float, ...]] = {
    2: (0, 1 / 2, 0, 0, 0, 0, 0, 1 / 2),
    3: (0, 1 / 2, 0, 1 / 2),
    5: (0, 1 / 4, 1 / 2, 1 / 4),
    9: (0, 1 / 16, 7 / 8, 1 / 16),
}
"""Coefficients of z^0, z^1, ... of a dual that is optimal for inputs [D], by D."""
TINY = np.finfo(float).tiny


class _Votes(ClassifierMixin, BaseEstimator):
    """Scores of classes, the largest of which is predicted."""

    classes_: NDArray[Any]

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """[n] labels."""
        check_is_fitted(self)
        chosen: NDArray[Any] = self.classes_[self._scores(X).argmax(1)]
        return chosen

    def _scores(self, X: ArrayLike) -> Floats:
        raise NotImplementedError

    def _keep(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.intp]:
        """Keep the unit-norm inputs; positions of the labels among the classes."""
        features, self.classes_, index = read(self, X, y)
        self.inputs_ = unit(features)
        return index

    def _similarities(self, X: ArrayLike) -> Floats:
        """[n, training samples] z."""
        features = validate_data(self, X, dtype=np.float64, reset=False)
        return np.clip(unit(features) @ self.inputs_.T, -1, 1)


@dataclass(eq=False, repr=False)
class SingularKernel(_Votes):
    """A vote of all training samples with weights |x - x'|^-order. What ends in `_` is there after `fit`.

    Attributes:
        order: how steeply weights grow; None: D - 1, the consistent one. Large: the nearest neighbour. 0: the majority.
        prior_corrected: divide a class's votes by its number of training samples.
        classes_: [C].
        inputs_: [n, D] of unit norm.
        votes_: [n, C] what each training sample gives to each class, 0 for all but its own.
        order_: the order that was taken.
    """

    order: float | None = None
    prior_corrected: bool = True

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """X: [n, D] features, which are brought to unit norm. y: [n] labels of at least two classes."""
        index = self._keep(X, y)
        self.order_ = self.inputs_.shape[1] - 1.0 if self.order is None else float(self.order)
        votes = np.eye(len(self.classes_))[index]
        self.votes_ = votes / votes.sum(0) if self.prior_corrected else votes
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """[n, C] shares of the votes."""
        check_is_fitted(self)
        return self._scores(X)

    def _scores(self, X: ArrayLike) -> Floats:
        squared = 2 - 2 * self._similarities(X)
        logs = -self.order_ / 2 * np.log(np.maximum(squared, 1e-15))  # an equal input outvotes all others
        weights = np.exp(logs - logs.max(1, keepdims=True))
        scores: Floats = weights @ self.votes_
        return scores / scores.sum(1, keepdims=True)


@dataclass(eq=False, repr=False)
class InfiniteNetwork(_Votes):
    """Kernel regression with the kernel of an infinitely wide network; inputs of unit norm, all different.

    Attributes:
        dual: coefficients of z^0, z^1, ... of the activation's dual, which sum to 1; None: the optimal one of the
            inputs' dimension, for 2, 3, 5 and 9.
        depth: how often it is applied.
        classes_: [C], after `fit`.
        inputs_: [n, D] of unit norm, after `fit`.
        solved_: [n, C] the kernel matrix's solution for each class's targets, after `fit`.
    """

    dual: tuple[float, ...] | None = None
    depth: int = 100

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """X: [n, D]. y: [n] labels of at least two classes."""
        index = self._keep(X, y)
        dim = self.inputs_.shape[1]
        if self.dual is None and dim not in DUALS:
            raise ValueError(f"no optimal dual is known for inputs [{dim}], of {sorted(DUALS)} there is one; set dual")
        kernel = self._deep(self.inputs_ @ self.inputs_.T)
        np.fill_diagonal(kernel, 1.0)
        targets = 2 * np.eye(len(self.classes_))[index] - 1
        self.solved_ = np.linalg.solve(kernel, targets)
        return self

    def _scores(self, X: ArrayLike) -> Floats:
        kernel = self._deep(self._similarities(X))
        scale = np.maximum(np.abs(kernel).max(1, keepdims=True), TINY)  # deep kernels are far below 1
        scores: Floats = (kernel / scale) @ self.solved_
        return scores

    def _deep(self, z: Floats) -> Floats:
        dual = DUALS[self.inputs_.shape[1]] if self.dual is None else self.dual
        if abs(sum(dual) - 1) > 1e-9:
            raise ValueError(f"expected coefficients of the dual that sum to 1, got {sum(dual):g}")
        for _ in range(self.depth):
            z = np.polynomial.polynomial.polyval(np.clip(z, -1, 1), np.array(dual))  # f' > 1 at 1: rounding would grow
        return z


def unit(features: Floats) -> Floats:
    """[n, D] rows of norm 1; a row of zeros stays."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
