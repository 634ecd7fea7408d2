"""Scale mixtures of network Gaussian processes: kernel, marginal likelihood and predictions against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_t, norm
from sklearn.datasets import load_digits
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.estimator_checks import check_estimator

from fedlt.heads.t_process import BOUNDS, TProcessClassifier, TProcessRegressor, network_kernel


def regression(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    return x, np.sin(x[:, 0]) + 0.1 * rng.normal(size=n)


def test_the_kernel_is_that_of_a_wide_network() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3))
    wide, bias = 400, 0.3
    total = np.zeros((4, 4))
    for _ in range(100):
        h = x @ rng.normal(0, np.sqrt(2 / 3), (3, wide)) + rng.normal(0, np.sqrt(bias), wide)
        h = np.maximum(h, 0) @ rng.normal(0, np.sqrt(2 / wide), (wide, wide)) + rng.normal(0, np.sqrt(bias), wide)
        total += h @ h.T / wide / 100
    assert np.allclose(network_kernel(x, x, 1, bias), total, rtol=0.03)


def test_the_marginal_likelihood_is_scipys() -> None:
    x, y = regression(12)
    head = TProcessRegressor(depth=2).fit(x, y)
    chosen, scaled = head.chosen_, (y - y.mean()) / y.std()
    kernel = chosen["scale"] * network_kernel(x, x, 2, chosen["bias"]) + chosen["noise"] * np.eye(12)
    assert head.likelihood_ == pytest.approx(multivariate_t(shape=kernel, df=2 * chosen["a"]).logpdf(scaled))


def test_a_prediction_is_the_conditional_of_the_joint_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """With less noise than there is, so that the targets fit worse than the kernel expects and widen predictions."""
    x, y = regression(12)
    monkeypatch.setattr(
        "fedlt.heads.t_process.BOUNDS", BOUNDS | {"noise": (1e-6, 1e-5), "a": (1.0, 1.1), "scale": (0.1, 0.11)}
    )
    head = TProcessRegressor(depth=2).fit(x, y)
    chosen, scaled = head.chosen_, (y - y.mean()) / y.std()
    both = np.vstack([x, [[0.3, -0.2, 1.0]]])
    kernel = chosen["scale"] * network_kernel(both, both, 2, chosen["bias"]) + chosen["noise"] * np.eye(13)
    joint, marginal = (multivariate_t(shape=kernel[:k, :k], df=2 * chosen["a"]) for k in (13, 12))
    value = y.mean() + 0.4 * y.std()
    expected = joint.logpdf([*scaled, 0.4]) - marginal.logpdf(scaled) - np.log(y.std())
    assert head.log_density(both[12:], [value])[0] == pytest.approx(expected)


def test_without_the_mixture_it_is_scikit_learns_gaussian_process() -> None:
    """With the same kernel, given as a matrix between numbers of rows."""
    x, y = regression(30)
    head = TProcessRegressor(depth=2, mixture=False).fit(x[:20], y[:20])
    chosen, scaled = head.chosen_, (y[:20] - y[:20].mean()) / y[:20].std()
    kernel = chosen["scale"] * network_kernel(x, x, 2, chosen["bias"])
    oracle = GaussianProcessRegressor(Between(kernel), alpha=chosen["noise"], optimizer=None)
    oracle.fit(np.arange(20.0)[:, None], scaled)
    assert head.likelihood_ == pytest.approx(oracle.log_marginal_likelihood_value_)
    mean, spread = oracle.predict(np.arange(20.0, 30)[:, None], return_std=True)
    assert np.allclose(head.predict(x[20:]), y[:20].mean() + y[:20].std() * mean)
    total = y[:20].std() * np.sqrt(spread**2 + chosen["noise"])
    assert np.allclose(head.log_density(x[20:], y[20:]), norm.logpdf(y[20:], head.predict(x[20:]), total))


class Between(Kernel):
    """A matrix of kernels as one of scikit-learn's, between numbers of rows."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix

    def __call__(self, X: np.ndarray, Y: np.ndarray | None = None, eval_gradient: bool = False) -> np.ndarray:
        rows, columns = (each[:, 0].astype(int) for each in (X, X if Y is None else Y))
        return self.matrix[np.ix_(rows, columns)]

    def diag(self, X: np.ndarray) -> np.ndarray:
        return np.diag(self.matrix)[X[:, 0].astype(int)]

    def is_stationary(self) -> bool:
        return False


def test_it_classifies_and_keeps_the_tail() -> None:
    x, y = load_digits(return_X_y=True)
    kept = np.concatenate([np.flatnonzero(y == label)[: 100 if label < 2 else 8] for label in range(4)])
    rest = np.setdiff1d(np.flatnonzero(y < 4), kept)
    head = TProcessClassifier(depth=2, max_samples=60).fit(x[kept] / 16, y[kept])
    assert np.unique(head.targets_.argmax(1), return_counts=True)[1].tolist() == [22, 22, 8, 8]
    assert head.score(x[rest] / 16, y[rest]) > 0.8
    found = head.predict_proba(x[rest[:20]] / 16)
    assert np.allclose(found.sum(1), 1) and (found.argmax(1) == head.predict(x[rest[:20]] / 16)).mean() > 0.9


def test_they_are_estimators() -> None:
    check_estimator(TProcessRegressor(depth=1, max_iter=1))
    check_estimator(TProcessClassifier(depth=1, max_iter=1, draws=1000))
