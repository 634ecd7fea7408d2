"""Calibration, loss and failure prediction against independent computations, and exact merging."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from fedlt.data.task import Task
from fedlt.learner import Prediction
from fedlt.measures.confidence import BINS, CELLS, MOST_NATS, UNIT, Confidence
from fedlt.statistic import NOBODY, Predicted, Subject

NOTHING: Any = None  # these figures need to know nothing of the federation


def empty(kind: str = "generic") -> Confidence:
    return Confidence().empty(Task("single", 2, (1,)), Subject(kind))


def measured(logits: np.ndarray, targets: np.ndarray, clients: list[int] | None = None) -> Confidence:
    found = empty("personal" if clients else "generic")
    for client in sorted(set(clients or [NOBODY])):
        mine = np.array(clients) == client if clients else slice(None)
        said = Prediction(torch.from_numpy(logits[mine]).float())
        found.add(Predicted(said, torch.from_numpy(targets[mine]), torch.arange(len(said.logits)), client))
    found.to_arrays()  # nothing is held back any more
    return found


def union(parts: list[Confidence]) -> Confidence:
    """Parts that were merged after a journey."""
    whole = empty(parts[0].subject.kind)
    for part in parts:
        other = empty(part.subject.kind)
        other.from_arrays(part.to_arrays())
        whole.merge(other)
    return whole


def draw(samples: int, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 2 * rng.standard_normal((samples, classes)), rng.integers(classes, size=samples)


def test_by_hand() -> None:
    # Two classes, log-odds 0.85 for the first: probabilities 0.70, 0.30. Two are right, one is wrong; and one right at
    # log-odds 2.95, 0.95. Confidences 0.70 (bin 10 of 0..14, as 10/15 < 0.7 <= 11/15) and 0.95 (bin 14).
    p, q = 1 / (1 + math.exp(-0.85)), 1 / (1 + math.exp(-2.95))
    found = measured(np.array([[0.85, 0], [0.85, 0], [0.85, 0], [0, 2.95]]), np.array([0, 0, 1, 1]))
    count, accuracy, confidence = found.curve()
    assert count.tolist() == [0] * 10 + [3, 0, 0, 0, 1]
    assert accuracy[[10, 14]] == pytest.approx([2 / 3, 1])
    assert confidence[[10, 14]] == pytest.approx([p, q], abs=1e-6)
    assert math.isnan(accuracy[0])
    figures = found.figures(NOTHING)
    assert figures == pytest.approx(
        {
            "ece": 3 / 4 * abs(2 / 3 - p) + 1 / 4 * (1 - q),
            "nll": -(2 * math.log(p) + math.log(1 - p) + math.log(q)) / 4,
            "brier": (2 * 2 * (1 - p) ** 2 + 2 * p**2 + 2 * (1 - q) ** 2) / 4,
            "failure_auroc": (1 + 2 * 0.5) / 3,  # of three pairs, one is ordered and two are tied
        },
        abs=1e-6,
    )


def test_scikit_learn_agrees() -> None:
    logits, targets = draw(2000)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    figures = measured(logits, targets).figures(NOTHING)
    assert figures["nll"] == pytest.approx(log_loss(targets, probabilities), abs=1e-5)
    each = [brier_score_loss(targets == k, probabilities[:, k]) for k in range(5)]
    assert figures["brier"] == pytest.approx(sum(each), abs=1e-5)
    right = probabilities.argmax(axis=1) == targets
    assert figures["failure_auroc"] == pytest.approx(roc_auc_score(right, probabilities.max(axis=1)), abs=2e-3)


def test_any_grouping_gives_the_same_integers() -> None:
    logits, targets = draw(300)
    whole = measured(logits, targets)
    parts = [measured(logits[a:b], targets[a:b]) for a, b in ((200, 300), (0, 7), (7, 200))]
    assert whole.cells.dtype == np.int64
    assert len(whole.cells) == CELLS
    assert union(parts).cells.tolist() == whole.cells.tolist()
    clients = [7] * 100 + [2] * 100 + [5] * 100
    kept = measured(logits, targets, clients)
    assert kept.cells.tolist() == whole.cells.tolist()
    assert kept.clients[:, :2].tolist() == [[2, 100], [5, 100], [7, 100]]
    halves = [measured(logits[s], targets[s], clients[s]) for s in (slice(0, 150), slice(150, 300))]
    assert union(halves).clients.tolist() == kept.clients.tolist()


def test_personal_loss_is_a_mean_over_clients_and_calibration_is_pooled() -> None:
    logits = np.array([[1.0, 0], [1.0, 0], [1.0, 0], [0, 3.0]])
    right, wrong, sure = math.log1p(math.exp(-1)), math.log1p(math.exp(1)), math.log1p(math.exp(-3))
    found = measured(logits, np.array([0, 0, 1, 1]), [1, 1, 1, 4])
    assert found.figures(NOTHING)["nll"] == pytest.approx(((2 * right + wrong) / 3 + sure) / 2, abs=1e-6)
    ids, nll, _ = found.per_client()
    assert ids.tolist() == [1, 4]
    assert nll == pytest.approx([(2 * right + wrong) / 3, sure], abs=1e-6)
    assert found.figures(NOTHING)["ece"] == pytest.approx(measured(logits, np.array([0, 0, 1, 1])).calibration_error())


def test_excluded_classes_and_overflow_stay_finite() -> None:
    logits = np.array([[0.0, -np.inf], [np.nan, 0.0], [1e30, 0.0]])
    figures = measured(logits, np.array([1, 0, 0])).figures(NOTHING)
    assert figures["nll"] == pytest.approx((MOST_NATS + MOST_NATS + 0) / 3)
    assert all(math.isfinite(value) for value in figures.values())


def test_all_right_or_no_sample_define_no_failure_prediction() -> None:
    assert math.isnan(measured(np.array([[1.0, 0]]), np.array([0])).failure_auroc())
    assert all(math.isnan(value) for value in empty().figures(NOTHING).values())


def test_a_perfectly_calibrated_model_has_almost_no_error() -> None:
    rng = np.random.default_rng(3)
    logits = np.stack([rng.uniform(-3, 3, 200_000), np.zeros(200_000)], axis=1)
    targets = (rng.random(200_000) > 1 / (1 + np.exp(-logits[:, 0]))).astype(np.int64)
    assert measured(logits, targets).calibration_error() < 0.005
    assert measured(3 * logits, targets).calibration_error() > 0.05  # the same decisions, over-confident
    assert (BINS, UNIT) == (15, 2**24)


def test_a_models_own_uncertainty_ranks_its_predictions() -> None:
    # Confidence cannot tell the three apart; the uncertainty puts the wrong one last, and second among them in the end.
    logits, targets = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([0, 0, 1])
    for uncertainty, expected in (([0.1, 0.2, 0.9], 1.0), ([0.1, 0.9, 0.5], 0.5), ([0.0, 3.0, 2.0], 0.5)):
        found = empty()
        found.add(Predicted(Prediction(logits, torch.tensor(uncertainty)), targets, torch.arange(3)))
        found.to_arrays()
        assert found.failure_auroc() == expected
    assert measured(logits.numpy(), targets.numpy()).failure_auroc() == 0.5


def test_a_batch_that_tells_no_uncertainty_is_ranked_by_its_confidence() -> None:
    # Told: uncertainty 1/e for a right sample, so its log-odds are 1. Not told: log-odds 0 (wrong), or 2 (wrong).
    for logit, expected in ((0.0, 1.0), (2.0, 0.0)):
        found = empty()
        told = Prediction(torch.tensor([[5.0, 0.0]]), torch.tensor([math.exp(-1)]))
        found.add(Predicted(told, torch.tensor([0]), torch.arange(1)))
        found.add(Predicted(Prediction(torch.tensor([[logit, 0.0]])), torch.tensor([1]), torch.arange(1, 2)))
        found.to_arrays()
        assert found.failure_auroc() == expected


def test_what_is_held_back_is_counted_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedlt.measures.confidence.HELD", 100)
    logits, targets = draw(300)
    clients = list(range(100)) * 3
    assert measured(logits, targets, clients).cells.tolist() == measured(logits, targets).cells.tolist()
