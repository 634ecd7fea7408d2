"""Normalised gradient descent of logistic regression: the paper's numbers of iterations, and its perceptron limit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import check_estimator

from fedlt.heads.normalised_gd import NormalisedGD


def worst_case(n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """One sample of class 1 that n - 1 equal ones of class 0 hide."""
    return np.array([[0.5, -1.0]] + [[-0.5, -1.0]] * (n - 1)), np.array([1] + [0] * (n - 1))


@pytest.mark.parametrize(
    ("step", "normalise", "iterations"),
    [(100, True, 2), (10, True, 2), (1, True, 16), (0.1, True, 157), (100, False, 308)],
)
def test_iterations_on_the_worst_case_are_the_papers(step: float, normalise: bool, iterations: int) -> None:
    head = NormalisedGD(step, normalise, fit_intercept=False).fit(*worst_case())
    assert head.separated_ and head.n_iter_ == iterations


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_large_step_is_the_perceptron(normalise: bool, classes: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.integers(classes, size=60)
    large = NormalisedGD(1e8, normalise, max_iter=7).fit(x, y)
    limit = NormalisedGD(np.inf, normalise, max_iter=7).fit(x, y)
    assert np.abs(large.coef_ / 1e8 - limit.coef_).max() < 1e-6


def test_the_first_step_of_the_perceptron_is_half_the_mean() -> None:
    x, y = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.array([1, 0, 1])
    head = NormalisedGD(np.inf, normalise=False, max_iter=1, fit_intercept=False).fit(x, y)
    assert head.coef_.tolist() == [[2 / 3, -1 / 6]]


@pytest.mark.parametrize("classes", [2, 3])
def test_without_the_division_a_step_is_that_of_the_log_loss(classes: int) -> None:
    """Two steps, by scikit-learn's loss and scipy's differences; the one vector of two classes has scores 0 and s."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.integers(classes, size=30)
    rows = 1 if classes == 2 else classes

    def loss(flat: np.ndarray) -> float:
        scores = x @ flat.reshape(rows, 4).T
        both = np.hstack([np.zeros((30, 1)), scores]) if rows == 1 else scores
        return float(log_loss(y, softmax(both, axis=1)))

    weights = np.zeros(rows * 4)
    for _ in range(2):
        weights = weights - 0.7 * approx_fprime(weights, loss, 1e-7)
    head = NormalisedGD(0.7, normalise=False, max_iter=2, fit_intercept=False).fit(x, y)
    assert np.allclose(head.coef_.ravel(), weights, atol=1e-6)


def test_where_classes_overlap_it_ends_at_the_likelihoods_maximum() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 3)), rng.integers(3, size=200)
    head = NormalisedGD(1.0, normalise=False, max_iter=3000).fit(x, y)
    oracle = LogisticRegression(C=1e9, tol=1e-9, max_iter=1000).fit(x, y)
    assert not head.separated_ and np.allclose(head.predict_proba(x), oracle.predict_proba(x), atol=1e-4)


def test_it_is_an_estimator() -> None:
    check_estimator(NormalisedGD(max_iter=50))
    with pytest.raises(ValueError, match="step > 0"):
        NormalisedGD(step=0).fit(*worst_case(5))
