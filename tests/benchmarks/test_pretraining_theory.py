"""The encoder of pairs, and the majority of a component's labels, on points by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.heads import pretraining


def test_pairs_find_what_they_share_under_stronger_noise() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(500, pretraining.RANK))
    one, other = (np.hstack([shared, 10 * rng.normal(size=(500, 6))]) for _ in range(2))
    basis = pretraining._canonical(one, other)
    weight = np.abs(basis).sum(axis=1)
    assert weight[: pretraining.RANK].min() > 10 * weight[pretraining.RANK :].max()
    assert np.abs(pretraining._principal(one)).sum(axis=1)[: pretraining.RANK].max() < 0.5


def test_labels_of_a_component_decide_together() -> None:
    labelled = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = pretraining._majority(labelled, np.array([0, 2, 2, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert found.tolist() == [2, 1]
