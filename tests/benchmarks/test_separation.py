"""Areas under ROC curves and false positives, against counting every pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.centralized.separation import auroc, false_positives, uncertainty
from fedlt.learner import Prediction


def test_the_area_counts_pairs_and_half_the_ties() -> None:
    low, high = torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([2.0, 3.0])
    assert auroc(low, high) == (1 + 0.5 + 0.5 + 3) / 8
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40), rng.integers(3, 12, 30)
    pairs = (a[:, None] < b).mean() + (a[:, None] == b).mean() / 2
    assert auroc(torch.as_tensor(a), torch.as_tensor(b)) == pytest.approx(pairs)
    assert auroc(torch.as_tensor(b), torch.as_tensor(a)) == pytest.approx(1 - pairs)
    assert np.isnan(auroc(low, low[:0]))


def test_false_positives_where_nearly_all_others_are_found() -> None:
    high = torch.arange(1.0, 21.0)  # 95 % of 20 are those from 2 on
    assert false_positives(torch.tensor([0.5, 1.5, 1.9, 2.0, 3.0]), high) == 2 / 5
    assert false_positives(high, high) == 0.95


def test_a_model_that_says_nothing_is_as_uncertain_as_its_largest_probability_is_small() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    expected = [1 - np.exp(2) / (np.exp(2) + 1), 0.5]
    for found in (logits, Prediction(logits), {"first": logits, "second": 9 * logits}):
        assert uncertainty(found).tolist() == pytest.approx(expected)
    assert uncertainty(Prediction(logits, torch.tensor([3.0, 4.0]))).tolist() == [3, 4]
