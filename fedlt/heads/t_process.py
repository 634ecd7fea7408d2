"""TProcessRegressor, TProcessClassifier: infinitely wide networks whose last layer has a random scale.

Lee, Yun, Yang, Lee: Scale Mixtures of Neural Network Gaussian Processes. ICLR 2022 (arXiv 2107.01408). With K the NNGP
kernel of a ReLU network (Cho, Saul: Kernel Methods for Deep Learning, NeurIPS 2009), an inverse gamma prior with shape
and scale a on the variance of the last layer makes the Gaussian process a Student-t process of 2a degrees of freedom:

    y ~ t_2a(0, K + noise I)        noise inside the mixture, so that all is in closed form
    mean = the GP's,  scale^2 = (2a + y' K_n^-1 y) / (2a + n) times the GP's,  degrees 2a + n

Targets that fit worse than the kernel expects widen every prediction, which a Gaussian process cannot. Scale, bias,
noise and a are those of the largest marginal likelihood. The classifier regresses on one target in {-1, 1} a class, and
takes the share of draws in which a class is the largest; official code: variational inference with inducing points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import gammaln
from scipy.stats import norm, t
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fedlt.heads.labels import read

Floats = NDArray[np.float64]
BOUNDS = {"scale": (1e-3, 1e3), "bias": (1e-4, 1e2), "noise": (1e-6, 1e1), "a": (0.6, 1e3)}
"""Of what the marginal likelihood chooses."""


def network_kernel(one: Floats, two: Floats, depth: int, bias: float) -> Floats:
    """The NNGP kernel of a ReLU network with weights of variance 2 / width.

    Args:
        one: [n, D].
        two: [m, D].
        depth: hidden layers.
        bias: variance of the biases.

    Returns:
        [n, m].
    """
    cross = bias + 2 * one @ two.T / one.shape[1]
    own = [bias + 2 * (each**2).sum(1) / each.shape[1] for each in (one, two)]
    for _ in range(depth):
        scale = np.sqrt(own[0][:, None] * own[1])
        angle = np.arccos(np.clip(cross / scale, -1, 1))
        cross = bias + scale / np.pi * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
        own = [bias + each for each in own]
    return cross


class _Process(BaseEstimator):
    """What regressor and classifier share: the kernel's numbers, and the distribution of targets at new inputs.

    Attributes:
        depth: hidden layers of the network.
        mixture: whether the last layer's scale is random (a Student-t process); False: a Gaussian process.
        max_iter: steps of the search for the largest marginal likelihood.
    """

    depth: int
    mixture: bool
    max_iter: int

    def _choose(self, inputs: Floats, targets: Floats) -> None:
        """Take the numbers of the largest marginal likelihood. targets: [n, T], independent ones."""
        self.inputs_, self.targets_ = inputs, targets
        names = [*BOUNDS] if self.mixture else [name for name in BOUNDS if name != "a"]
        start = {"scale": 1.0, "bias": 0.1, "noise": 0.1, "a": 2.0}

        def cost(logs: Floats) -> float:
            return -self._likelihood(dict(zip(names, np.exp(logs), strict=True)))

        bounds = [tuple(np.log(BOUNDS[name])) for name in names]
        found = minimize(cost, np.log([start[name] for name in names]), method="L-BFGS-B", bounds=bounds,
                         options={"maxiter": self.max_iter})  # fmt: skip
        self.chosen_ = dict(zip(names, np.exp(found.x).tolist(), strict=True))
        self.likelihood_, self.n_iter_ = -float(found.fun), max(1, int(found.nit))

        self._root = self._factor(self.chosen_)
        self._solved = cho_solve((self._root, True), targets)
        self._fits = (targets * self._solved).sum(0)  # [T] y' K^-1 y

    def _factor(self, numbers: dict[str, float]) -> Floats:
        kernel = numbers["scale"] * network_kernel(self.inputs_, self.inputs_, self.depth, numbers["bias"])
        kernel[np.diag_indices_from(kernel)] += numbers["noise"]
        root: Floats = cholesky(kernel, lower=True)
        return root

    def _likelihood(self, numbers: dict[str, float]) -> float:
        """The log marginal likelihood of all targets."""
        root, n = self._factor(numbers), len(self.inputs_)
        fits = (solve_triangular(root, self.targets_, lower=True) ** 2).sum(0)
        half = np.log(np.diag(root)).sum()
        if not self.mixture:
            return float((-0.5 * fits - half - 0.5 * n * np.log(2 * np.pi)).sum())
        a = numbers["a"]
        constant = gammaln(a + n / 2) - gammaln(a) - 0.5 * n * np.log(2 * a * np.pi)
        return float((constant - half - (a + n / 2) * np.log1p(fits / (2 * a))).sum())

    def _at(self, inputs: Floats) -> tuple[Floats, Floats, float]:
        """[m, T] means and scales of new targets, noise included, and their degrees of freedom; inf: Gaussian."""
        numbers = self.chosen_
        cross = numbers["scale"] * network_kernel(inputs, self.inputs_, self.depth, numbers["bias"])
        half = solve_triangular(self._root, cross.T, lower=True)
        own = numbers["scale"] * _diagonal(inputs, self.depth, numbers["bias"]) + numbers["noise"]
        variance = np.maximum(own - (half**2).sum(0), 1e-12)
        means = cross @ self._solved
        if not self.mixture:
            return means, np.sqrt(variance)[:, None].repeat(means.shape[1], 1), np.inf
        degrees = 2 * numbers["a"]
        factor = (degrees + self._fits) / (degrees + len(self.inputs_))
        return means, np.sqrt(variance[:, None] * factor), degrees + len(self.inputs_)


@dataclass(eq=False, repr=False)
class TProcessRegressor(RegressorMixin, _Process):
    """Regression under the process; targets are scaled to mean 0 and variance 1. What ends in `_` is there after `fit`.

    Attributes:
        depth: hidden layers of the network.
        mixture: whether the last layer's scale is random; False: the Gaussian process.
        max_iter: steps of the search for the largest marginal likelihood.
        chosen_: the kernel's numbers and a.
        likelihood_: the log marginal likelihood.
        n_iter_: steps of the search.
    """

    depth: int = 3
    mixture: bool = True
    max_iter: int = 50

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """X: [n, D]. y: [n] numbers."""
        inputs, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        self._mean, self._spread = float(targets.mean()), float(targets.std()) or 1.0
        self._choose(inputs, ((targets - self._mean) / self._spread)[:, None])
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """[n] means."""
        return self._predicted(X)[0]

    def log_density(self, X: ArrayLike, y: ArrayLike) -> Floats:
        """The log density of targets, which says how well the predicted spread suits them.

        Args:
            X: [n, D].
            y: [n] targets, in their own unit.

        Returns:
            [n].
        """
        mean, scale, degrees = self._predicted(X)
        found: Floats = t.logpdf(np.asarray(y), degrees, mean, scale) if self.mixture else norm.logpdf(y, mean, scale)
        return found

    def _predicted(self, X: ArrayLike) -> tuple[Floats, Floats, float]:
        check_is_fitted(self, "chosen_")
        means, scales, degrees = self._at(validate_data(self, X, dtype=np.float64, reset=False))
        return self._mean + self._spread * means[:, 0], self._spread * scales[:, 0], degrees


@dataclass(eq=False, repr=False)
class TProcessClassifier(ClassifierMixin, _Process):
    """One target in {-1, 1} a class, and the share of draws in which the class's is the largest.

    Args:
        depth, mixture, max_iter: those of the regressor.
        max_samples: training samples at most, since the cost is cubic; of more, equally many of each class are drawn,
            as far as there are, which keeps the tail whole.
        draws: of all classes' targets, an even number.
        random_state: seed of the draws.
    """

    depth: int = 3
    mixture: bool = True
    max_iter: int = 50
    max_samples: int = 2000
    draws: int = 256
    random_state: int = 0

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """X: [n, D]. y: [n] labels of at least two classes."""
        inputs, self.classes_, index = read(self, X, y)
        kept = _evenly(index, self.max_samples, np.random.default_rng(self.random_state))
        self._choose(inputs[kept], 2.0 * np.eye(len(self.classes_))[index[kept]] - 1)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """[n] labels: the largest mean."""
        means = self._predicted(X)[0]
        chosen: NDArray[Any] = self.classes_[means.argmax(1)]
        return chosen

    def predict_proba(self, X: ArrayLike) -> Floats:
        """[n, C] shares of the draws."""
        means, scales, degrees = self._predicted(X)
        rng, found = np.random.default_rng(self.random_state), np.zeros(means.shape)
        noise = rng.standard_normal((-(-self.draws // 2), means.shape[1]))
        if self.mixture:
            noise /= np.sqrt(rng.chisquare(degrees, noise.shape) / degrees)

        # Each with its opposite, and the same for all inputs: what is predicted of one does not hang on the others.
        places = np.arange(len(means))
        for draw in [*noise, *-noise]:
            found[places, (means + scales * draw).argmax(1)] += 1
        return found / (2 * len(noise))

    def _predicted(self, X: ArrayLike) -> tuple[Floats, Floats, float]:
        check_is_fitted(self, "chosen_")
        return self._at(validate_data(self, X, dtype=np.float64, reset=False))


def _diagonal(inputs: Floats, depth: int, bias: float) -> Floats:
    """[n] the kernel of each input with itself."""
    return bias * (depth + 1) + 2 * (inputs**2).sum(1) / inputs.shape[1]


def _evenly(index: NDArray[np.intp], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Positions of at most so many samples: of each class equally many, or all that it has."""
    if len(index) <= most:
        return np.arange(len(index))
    counts = np.bincount(index)
    each = next(size for size in range(int(counts.max()), 0, -1) if np.minimum(counts, size).sum() <= most or size == 1)
    order = rng.permutation(len(index))
    kept = [order[index[order] == label][:each] for label in range(len(counts))]
    return np.sort(np.concatenate(kept))
