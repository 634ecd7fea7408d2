"""Singular kernels: their votes by hand, their limits, and the deep networks that tend to them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import check_estimator

from fedlt.heads.singular_kernel import InfiniteNetwork, SingularKernel, unit


def on_sphere(n: int, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of no negative coordinate on the sphere; a label is 1 with a probability that follows the first one."""
    rng = np.random.default_rng(seed)
    x = unit(rng.dirichlet(np.ones(dim), size=n))
    return x, (rng.random(n) < 0.5 + 0.45 * np.sin(6 * x[:, 0])).astype(int)


def test_votes_by_hand() -> None:
    """Distances squared: 2 to (0, 1), 4 to (-1, 0) twice; of order 2 the votes are 1/2 and 1/4 each."""
    x, y = np.array([[0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]]), [0, 1, 1]
    query = [[3.0, 0.0]]
    assert np.allclose(SingularKernel(2.0, prior_corrected=False).fit(x, y).predict_proba(query), [[0.5, 0.5]])
    assert np.allclose(SingularKernel(2.0).fit(x, y).predict_proba(query), [[2 / 3, 1 / 3]])
    assert np.allclose(SingularKernel(0.0, prior_corrected=False).fit(x, y).predict_proba(query), [[1 / 3, 2 / 3]])
    assert SingularKernel().fit(x, y).order_ == 1


@pytest.mark.parametrize("order", [0.5, 3.0, 9.0])
def test_votes_are_those_of_neighbours_that_are_weighted_by_distance(order: float) -> None:
    x, y = on_sphere(60, 4, 0)
    queries = on_sphere(40, 4, 1)[0]
    oracle = KNeighborsClassifier(len(x), weights=lambda distances: distances**-order).fit(x, y)
    found = SingularKernel(order, prior_corrected=False).fit(x, y).predict_proba(queries)
    assert np.abs(found - oracle.predict_proba(queries)).max() < 1e-9
    corrected = found / np.bincount(y)
    mine = SingularKernel(order).fit(x, y).predict_proba(queries)
    assert np.abs(mine - corrected / corrected.sum(1, keepdims=True)).max() < 1e-9


def test_a_steep_kernel_is_the_nearest_neighbour() -> None:
    x, y = on_sphere(200, 4, 0)
    queries = on_sphere(100, 4, 1)[0]
    nearest = KNeighborsClassifier(1).fit(x, y).predict(queries)
    assert (SingularKernel(1e4).fit(x, y).predict(queries) == nearest).all()
    assert (SingularKernel(3.0).fit(x, y).predict(queries) != nearest).any()


@pytest.mark.parametrize("dim", [2, 3, 5, 9])
def test_the_optimal_deep_network_votes_like_the_singular_kernel(dim: int) -> None:
    x, y = on_sphere(300, dim, 2)
    queries = on_sphere(300, dim, 3)[0]
    deep = InfiniteNetwork(depth=100).fit(x, y).predict(queries)
    same = (deep == SingularKernel(prior_corrected=False).fit(x, y).predict(queries)).mean()
    other = (deep == SingularKernel(8.0 * dim, prior_corrected=False).fit(x, y).predict(queries)).mean()
    assert same >= 0.98 and same > other


def test_they_are_estimators() -> None:
    check_estimator(SingularKernel())
    with pytest.raises(ValueError, match="no optimal dual"):
        InfiniteNetwork().fit(np.eye(4), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="sum to 1"):
        InfiniteNetwork((0.5, 0.1)).fit(np.eye(2), [0, 1])
