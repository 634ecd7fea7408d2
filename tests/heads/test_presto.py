"""PRESTO: its likelihood and gradient by hand, its two limits, and what the penalty chooses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator
from statsmodels.miscmodels.ordinal_model import OrderedModel

from fedlt.heads.presto import PRESTO, _Ordinal


def ordered(n: int = 400, own: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of three features; own: by how much the last boundary's first slope differs."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 3))
    slopes = np.array([[1.0, -1.0, 0.0], [1.0 + own, -1.0, 0.0]])
    levels = expit(x @ slopes.T + [0.0, 2.0])
    return x, (rng.random(n)[:, None] > levels).sum(1)


def test_the_likelihood_and_its_gradient_by_hand() -> None:
    x, y = ordered(50)
    problem = _Ordinal(x, y, 3)
    numbers = np.array([[-0.3, 0.2, -0.1, 0.4], [0.9, 0.1, 0.0, -0.2]])
    at_most = expit(np.column_stack([x @ numbers[0, 1:], x @ (numbers[0, 1:] + numbers[1, 1:])]) + numbers[:, 0])
    each = np.column_stack([at_most[:, 0], at_most[:, 1] - at_most[:, 0], 1 - at_most[:, 1]])
    assert problem.cost(numbers) == pytest.approx(-np.log(each[np.arange(50), y]).mean())
    slopes = approx_fprime(numbers.ravel(), lambda flat: problem.cost(flat.reshape(2, 4)), 1e-7)
    assert np.abs(problem.gradient(numbers).ravel() - slopes).max() < 1e-5


def test_an_endless_penalty_of_differences_is_proportional_odds() -> None:
    x, y = ordered(own=-2.0)

    def cost(numbers: np.ndarray) -> float:
        at_most = expit((x @ numbers[2:])[:, None] + numbers[:2])
        each = np.column_stack([at_most[:, 0], at_most[:, 1] - at_most[:, 0], 1 - at_most[:, 1]])
        return -float(np.log(np.maximum(each[np.arange(len(y)), y], 1e-12)).mean())

    oracle = minimize(cost, [0.0, 1.0, 0.0, 0.0, 0.0]).x
    head = PRESTO(lam=1e6, first=False, max_iter=3000, tol=1e-9).fit(x, y)
    assert np.abs(head.coef_[0] - head.coef_[1]).max() == 0
    assert np.abs(head.coef_[0] - oracle[2:]).max() < 1e-3 and np.abs(head.intercept_ - oracle[:2]).max() < 1e-3
    assert not PRESTO(lam=1e6).fit(x, y).coef_.any()  # the paper's penalty takes the first slopes as well


def test_proportional_odds_are_those_of_statsmodels() -> None:
    x, y = ordered(own=-2.0)
    found = OrderedModel(y, x, distr="logit").fit(method="bfgs", disp=False)
    head = PRESTO(lam=1e6, first=False, max_iter=3000, tol=1e-9).fit(x, y)
    assert np.abs(head.predict_proba(x) - found.predict(x)).max() < 1e-4
    assert np.abs(head.coef_[0] + found.params[:3]).max() < 1e-3  # P(y <= k) there falls with the score


def test_without_a_penalty_slopes_are_those_of_the_largest_likelihood() -> None:
    """Of scipy's search over all numbers; and near those of a logistic regression for each boundary by itself."""
    x, y = ordered(2000, own=-1.0)

    def cost(numbers: np.ndarray) -> float:
        levels = expit(x @ numbers.reshape(2, 4)[:, 1:].T + numbers.reshape(2, 4)[:, 0])
        each = np.column_stack([levels[:, 0], levels[:, 1] - levels[:, 0], 1 - levels[:, 1]])
        return -float(np.log(np.maximum(each[np.arange(len(y)), y], 1e-12)).mean())

    oracle = minimize(cost, [0.0, 1, -1, 0, 2.0, 0, 0, 0]).x.reshape(2, 4)
    head = PRESTO(lam=0.0, max_iter=3000, tol=1e-9).fit(x, y)
    assert np.abs(head.coef_ - oracle[:, 1:]).max() < 1e-3 and np.abs(head.intercept_ - oracle[:, 0]).max() < 1e-3
    apart = [LogisticRegression(C=1e9, tol=1e-9).fit(x, y <= k).coef_[0] for k in (0, 1)]
    assert np.abs(head.coef_ - apart).max() < 0.2 < np.abs(apart[0] - apart[1]).max()


def test_without_a_penalty_two_classes_are_logistic_regression() -> None:
    x, y = ordered()
    head = PRESTO(lam=0.0, max_iter=3000, tol=1e-9).fit(x, y > 0)
    oracle = LogisticRegression(C=1e9, tol=1e-9).fit(x, y > 0)
    assert np.abs(head.predict_proba(x) - oracle.predict_proba(x)).max() < 1e-4


def test_the_penalty_finds_the_slope_that_differs() -> None:
    x, y = ordered(3000, own=-2.0)
    head = PRESTO(lam=0.01).fit(x, y)
    apart = np.abs(head.coef_[1] - head.coef_[0])
    assert apart[0] > 0.8 and apart[1:].max() < 0.3 and head.predict_proba(x).min() >= 0
    assert head.crossings(np.zeros((2, 3))) == 0 and head.crossings([[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]) == 1
    chosen = PRESTO(folds=3, max_iter=100).fit(x[:500], y[:500])
    assert 0 < chosen.lam_ < _Ordinal((x[:500] - x[:500].mean(0)) / x[:500].std(0), y[:500], 3).largest()


def test_it_is_an_estimator() -> None:
    check_estimator(PRESTO(lam=0.01, max_iter=50))
    with pytest.raises(ValueError, match="lam >= 0"):
        PRESTO(lam=-1).fit(*ordered(20))
